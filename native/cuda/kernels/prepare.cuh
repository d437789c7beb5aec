// prepare.cuh - one vector, from where it comes to what matrices multiply: residual added, normed, rotated, rounded to
// int8, by one block. The arithmetic and its order are the CPU's (rmsnorm, hadamard, quantize_i8 of kernels_scalar.c).
//
// Nothing else can go on meanwhile, so what counts is the way from the first instruction to the last: constants are
// asked for before the inputs are there, elements lie in shared memory so that threads that have sixteen or four neighbours
// each find them in banks of their own (bc_gpu_slot), the largest element is found by the transform's last pass, it and the
// sum by a warp's reductions and one atomic each. Rounding takes four elements per thread, and so do loads, but of the only
// token's vector; the transform sixteen neighbours: its stages cost least in registers.
#pragma once

enum { BC_SHARE = BC_GPU_PREPARE_SHARE, BC_HOME = BC_GPU_HOME };
const uint32_t BC_PLACE = 0x7fffffffu; // of an index whose top bit is a sign

BC_DEVICE float bc_flipped(float v, uint32_t index)
{
    return bc_bits_to_float(bc_float_to_bits(v) ^ (index & ~BC_PLACE));
}

struct bc_four {
    float v[4];
};
struct bc_sixteen {
    float v[BC_SHARE];
};

BC_DEVICE bc_four bc_load_four(const float *p)
{
    const bc_words4 w = bc_load(p);
    bc_four out;
#pragma unroll
    for (int k = 0; k < 4; k++) out.v[k] = bc_bits_to_float(w.w[k]);
    return out;
}
BC_DEVICE void bc_put_four(float *p, const bc_four &v)
{
    bc_words4 w;
#pragma unroll
    for (int k = 0; k < 4; k++) w.w[k] = bc_float_to_bits(v.v[k]);
    bc_put(p, w);
}
BC_DEVICE bc_sixteen bc_load16(const float *p)
{
    bc_sixteen out;
#pragma unroll
    for (int i = 0; i < BC_SHARE; i += 4) {
        const bc_four four = bc_load_four(p + i);
#pragma unroll
        for (int k = 0; k < 4; k++) out.v[i + k] = four.v[k];
    }
    return out;
}

// Elements i .. i + 15 of a placed vector of `cols`
BC_DEVICE bc_sixteen bc_load_placed(const float *p, int i, int cols)
{
    // bc_gpu_home of i, and how far it is from four to the next
    const bool whole = i < cols / BC_HOME * BC_HOME;
    const int at = whole ? (i & -BC_HOME) | i / 4 % (BC_HOME / 4) : i,
              apart = whole ? BC_HOME / 4 : 4;
    bc_sixteen out;
#pragma unroll
    for (int k = 0; k < BC_SHARE; k += 4) {
        const bc_four four = bc_load_four(p + (at + k / 4 * apart));
#pragma unroll
        for (int e = 0; e < 4; e++) out.v[k + e] = four.v[e];
    }
    return out;
}

// Elements i .. i + 15 of a vector in shared memory
BC_DEVICE void bc_put_slots(float *x, int i, const bc_sixteen &v)
{
    const int at = bc_gpu_slot(i);
#pragma unroll
    for (int k = 0; k < BC_SHARE; k += 4)
        bc_put_four(x + (at ^ k), { v.v[k], v.v[k + 1], v.v[k + 2], v.v[k + 3] });
}
BC_DEVICE bc_sixteen bc_load_slots(const float *x, int i)
{
    const int at = bc_gpu_slot(i);
    bc_sixteen out;
#pragma unroll
    for (int k = 0; k < BC_SHARE; k += 4) {
        const bc_four four = bc_load_four(x + (at ^ k));
#pragma unroll
        for (int e = 0; e < 4; e++) out.v[k + e] = four.v[e];
    }
    return out;
}

// ---- the Hadamard transform ----

// Stages 1, 2, .. below `block` of COUNT elements; block >= COUNT: all of them.
template <int COUNT> BC_DEVICE void bc_butterflies(float *v, int block)
{
#pragma unroll
    for (int s = 1; s < COUNT; s *= 2) {
        if (s >= block) break;
#pragma unroll
        for (int i = 0; i < COUNT; i++) {
            if (i & s) continue;
            const float a = v[i], b = v[i | s];
            v[i] = a + b;
            v[i | s] = a - b;
        }
    }
}

// The largest |x| of `top` and COUNT elements, as its bits: these order like the numbers, NaN above infinity.
template <int COUNT> BC_DEVICE int bc_top_of(const float *v, int top)
{
#pragma unroll
    for (int i = 0; i < COUNT; i++) {
        const int bits = (int)(bc_float_to_bits(v[i]) & 0x7fffffffu);
        top = bits > top ? bits : top;
    }
    return top;
}

// The block's largest |x| so far: each warp's by one atomic.
BC_DEVICE void bc_note_top(int top, int *block_top)
{
    top = bc_warp_max(top);
    if (threadIdx.x % 32 == 0) bc_atomic_max(block_top, top);
}

// Stages 2^SHIFT, 2^(SHIFT+1), .. of all elements, COUNT elements apart by 2^SHIFT at a time; whole warps. Where these are the
// last stages, *block_top is the largest afterwards, unless 0: nobody asks for it.
template <int COUNT, int SHIFT>
BC_DEVICE void bc_hadamard_pass(float *x, int n, int block, int *block_top)
{
    const bool last = block_top && COUNT << SHIFT == block;
    int top = 0;
#pragma unroll 1
    for (int item = threadIdx.x; item < n / COUNT; item += blockDim.x) {
        float v[COUNT];
        const int at =
            bc_gpu_slot(((item >> SHIFT) * COUNT << SHIFT) + (item & ((1 << SHIFT) - 1)));
#pragma unroll
        for (int i = 0; i < COUNT; i++) v[i] = x[at ^ bc_gpu_slot(i << SHIFT)];
        bc_butterflies<COUNT>(v, COUNT);
#pragma unroll
        for (int i = 0; i < COUNT; i++) x[at ^ bc_gpu_slot(i << SHIFT)] = v[i];
        if (last) top = bc_top_of<COUNT>(v, top);
    }
    if (last) bc_note_top(top, block_top);
    bc_sync();
}

template <int SHIFT> BC_DEVICE void bc_hadamard_rest(float *x, int n, int block, int *block_top)
{
    if (8 << SHIFT <= block)
        bc_hadamard_pass<8, SHIFT>(x, n, block, block_top);
    else if (4 << SHIFT <= block)
        bc_hadamard_pass<4, SHIFT>(x, n, block, block_top);
    else if (2 << SHIFT <= block)
        bc_hadamard_pass<2, SHIFT>(x, n, block, block_top);
}

// The stages behind those of a thread's sixteen, if there are any; block at most 32,768. Threads have met, and do so again.
BC_DEVICE void bc_hadamard_block(float *x, int n, int block, int *block_top)
{
    if (block < 256) return bc_hadamard_rest<4>(x, n, block, block_top);
    bc_hadamard_pass<16, 4>(x, n, block, block_top);
    if (block < 4096) return bc_hadamard_rest<8>(x, n, block, block_top);
    bc_hadamard_pass<16, 8>(x, n, block, block_top);
    bc_hadamard_rest<12>(x, n, block, block_top);
}

// ---- the steps of bc_prepare_vector ----

// A vector on its way. Shared memory: x f32 [width] (or, where that is too much for the card, global memory), and a room.
struct bc_prepare_room {
    double sums[32];
    int top, sum; // 0 at first
    float scale;
};

// What is asked for before the inputs are there: of the elements that a thread has first.
struct bc_prepare_constants {
    bc_four norm;
    bc_words4 order[BC_SHARE / 4];
};

BC_DEVICE void bc_load_order(const bc_prepare_args &p, int i, bc_words4 order[BC_SHARE / 4])
{
#pragma unroll
    for (int k = 0; k < BC_SHARE / 4; k++) order[k] = bc_load(p.order + i + 4 * k);
}

// Where elements i .. i + 3 come from
BC_DEVICE int bc_take_at(const bc_prepare_args &p, int i)
{
    return p.placed ? bc_gpu_home(i, p.cols) : i;
}

BC_DEVICE void bc_prepare_begin(const bc_prepare_args &p, bc_prepare_room *room,
                                bc_prepare_constants *c)
{
    const int mine = (int)threadIdx.x;
    if (mine == 0) room->top = room->sum = 0;
    if (p.norm && 4 * mine < p.width) c->norm = bc_load_four(p.norm + bc_take_at(p, 4 * mine));
    // others, which a token's weights have pushed out of the cache since the last one; sectors of 32 bytes
    for (int i = 8 * mine + 4 * (int)blockDim.x; p.norm && i < p.width; i += 8 * blockDim.x)
        bc_prefetch(p.norm + i);
    for (int i = 8 * mine; p.order && i < p.width; i += 8 * blockDim.x) bc_prefetch(p.order + i);
}

// Element i .. i + 3 of the token's vector, the residual added.
template <int SOURCE> BC_DEVICE bc_four bc_take_four(const bc_prepare_args &p, int64_t at)
{
    bc_four v = bc_load_four((SOURCE == BC_FROM_SWIGLU ? p.gate : p.x) + at);
    if (SOURCE == BC_FROM_SWIGLU) {
        const bc_four up = bc_load_four(p.up + at);
#pragma unroll
        for (int k = 0; k < 4; k++) v.v[k] = v.v[k] / (1.0f + bc_exp(-v.v[k])) * up.v[k];
    } else if (p.y) {
        const bc_four y = bc_load_four(p.y + at);
#pragma unroll
        for (int k = 0; k < 4; k++) v.v[k] += y.v[k];
        bc_put_four(p.x + at, v);
    }
    return v;
}

// 1 / the root of a vector's mean square
BC_DEVICE float bc_inverse_rms(const bc_prepare_args &p, double squares)
{
    return 1.0f / sqrtf((float)(squares * p.inverse_cols) + p.eps);
}
BC_DEVICE void bc_add_squares(bc_wide_sum *squares, const bc_four &v)
{
#pragma unroll
    for (int k = 0; k < 4; k++) bc_add_square(squares, v.v[k]);
}
// Elements i .. i + 3 times their norm; those from `mine` on came with the constants
BC_DEVICE void bc_norm_four(const bc_prepare_args &p, const bc_prepare_constants &c, int i,
                            int mine, float inverse_rms, bc_four *v)
{
    const bc_four norm = i == mine ? c.norm : bc_load_four(p.norm + bc_take_at(p, i));
#pragma unroll
    for (int k = 0; k < 4; k++) v->v[k] = v->v[k] * inverse_rms * norm.v[k];
}

// The vector of the token at `row` into x, normed.
template <int SOURCE>
BC_DEVICE void bc_take_vector(const bc_prepare_args &p, int64_t row, float *x,
                              bc_prepare_room *room, bc_prepare_constants &c)
{
    bc_wide_sum squares = bc_no_squares();
    const int mine = (int)threadIdx.x * 4;
    bc_four first = {}; // which most vectors have no more of, for a thread
#pragma unroll 1
    for (int i = mine; i < p.width; i += blockDim.x * 4) {
        const bc_four v = bc_take_four<SOURCE>(p, row + bc_take_at(p, i));
        if (p.norm && i == mine)
            first = v;
        else
            bc_put_four(x + bc_gpu_slot(i), v);
        if (p.norm) {
            bc_add_squares(&squares, v);
        } else if (p.plain) {
            bc_put_four(p.plain + row + i, v);
        }
    }
    if (p.order && BC_SHARE * (int)threadIdx.x < p.width)
        bc_load_order(p, BC_SHARE * threadIdx.x, c.order); // come while the sum is made
    if (!p.norm) return;
    const float inverse_rms = bc_inverse_rms(p, bc_block_sum_once(bc_squares(squares), room->sums));
#pragma unroll 1
    for (int i = mine; i < p.width; i += blockDim.x * 4) {
        float *at = x + bc_gpu_slot(i);
        bc_four v = i == mine ? first : bc_load_four(at);
        bc_norm_four(p, c, i, mine, inverse_rms, &v);
        bc_put_four(at, v);
        if (p.plain) bc_put_four(p.plain + row + i, v);
    }
}

BC_DEVICE bc_sixteen bc_gather(const float *x, const bc_words4 order[BC_SHARE / 4])
{
    bc_sixteen v;
#pragma unroll
    for (int k = 0; k < BC_SHARE; k++) {
        v.v[k] = x[order[k / 4].w[k % 4] & BC_PLACE];
    }
    return v;
}
BC_DEVICE void bc_flip(bc_sixteen *v, const bc_words4 order[BC_SHARE / 4])
{
#pragma unroll
    for (int k = 0; k < BC_SHARE; k++) v->v[k] = bc_flipped(v->v[k], order[k / 4].w[k % 4]);
}

// x in the order and with the signs of the rotation, and its first stages; *block_top where these are all. TURNS: sixteen
// elements that a thread has, at most, where they move.
template <int TURNS>
BC_DEVICE void bc_order_vector(const bc_prepare_args &p, float *x, bc_prepare_constants &c,
                               int *block_top)
{
    const bool last = p.block <= BC_SHARE;
    int top = 0;
    if (!p.moves && !p.order) {
#pragma unroll 1
        for (int i = threadIdx.x * BC_SHARE; i < p.width; i += blockDim.x * BC_SHARE) {
            bc_sixteen v = bc_load_slots(x, i);
            bc_butterflies<BC_SHARE>(v.v, p.block);
            bc_put_slots(x, i, v);
            if (last) top = bc_top_of<BC_SHARE>(v.v, top);
        }
        if (last) bc_note_top(top, block_top);
        bc_sync();
        return;
    }
    bc_sixteen v[TURNS];
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) {
        const int i = (turn * (int)blockDim.x + (int)threadIdx.x) * BC_SHARE;
        if (i >= p.width) continue;
        if (p.order && turn) bc_load_order(p, i, c.order);
        v[turn] = p.moves ? bc_gather(x, c.order) : bc_load_slots(x, i);
        if (p.order) bc_flip(&v[turn], c.order);
        bc_butterflies<BC_SHARE>(v[turn].v, p.block);
        if (last) top = bc_top_of<BC_SHARE>(v[turn].v, top);
    }
    if (p.moves) bc_sync(); // all have read
#pragma unroll
    for (int turn = 0; turn < TURNS; turn++) {
        const int i = (turn * (int)blockDim.x + (int)threadIdx.x) * BC_SHARE;
        if (i < p.width) bc_put_slots(x, i, v[turn]);
    }
    if (last) bc_note_top(top, block_top);
    bc_sync();
}

// A rounded vector lies as bytes, or as the bits of one.cuh: word 4 n + t of each 128 elements has bit n of those of unit t, in
// the order of its columns (tiled.cuh, trits.cuh).
//
// Each lane has four neighbouring elements, a byte each. Lane n of a unit's eight, which are four beside each other and the
// four 16 further on, gets bit n of all of the unit's: lane j's as bits j of its bytes. Three times, of two lanes one keeps its
// own even bits, pairs or halves of bytes, and takes the other's for the odd ones, and the other one likewise.
struct bc_transposer {
    uint32_t own[3];
    int turn[3];

    BC_DEVICE static int apart(int k) { return k == 2 ? 16 : 1 << k; }
    BC_DEVICE bc_transposer()
    {
        const uint32_t low[3] = { 0x55555555u, 0x33333333u, 0x0f0f0f0fu };
#pragma unroll
        for (int k = 0; k < 3; k++) {
            const bool second = threadIdx.x % 32 & apart(k);
            own[k] = second ? ~low[k] : low[k];
            turn[k] = second ? 32 - (1 << k) : 1 << k;
        }
    }
    BC_DEVICE uint32_t of(uint32_t v) const
    {
#pragma unroll
        for (int k = 0; k < 3; k++) {
            const uint32_t other = (uint32_t)bc_shuffle_xor((int)v, apart(k));
            v = bc_logic<0xca>(own[k], v, bc_turned(other, turn[k]));
        }
        return v;
    }
};

// Elements i .. i + 3 as bytes
BC_DEVICE uint32_t bc_round_four(const bc_rounding &rounding, const float *x, int i, float divisor,
                                 int *sum)
{
    const bc_four v = bc_load_four(x + bc_gpu_slot(i));
    uint32_t near[4];
#pragma unroll
    for (int k = 0; k < 4; k++) near[k] = rounding.near(v.v[k] * divisor);
    const uint32_t packed =
        bc_bytes(bc_bytes(near[0], near[1], 0x40), bc_bytes(near[2], near[3], 0x40), 0x5410);
    if (!rounding.usable) return 0;
    *sum = bc_dot4_ss(packed, 0x01010101u, *sum);
    return packed;
}

// out i8 [stride] = round(127 x / max|x|) of x times its divisor, 0 behind its end. All threads have met since x and the room's
// top were complete; its scale and sum are, once they meet again.
template <bool BITS>
BC_DEVICE void bc_round_vector(const bc_prepare_args &p, const float *x, int8_t *out, int stride,
                               bc_prepare_room *room)
{
    const int turn = 4 * (int)blockDim.x;
    const bc_transposer transposer;
    const int mine = 4 * (int)threadIdx.x, place = mine % 128; // of its 128 elements
    // a product's rounding keeps the order: the largest product is that of the largest element
    const float largest = bc_bits_to_float((uint32_t)room->top) * p.divisor;
    const bc_rounding rounding = bc_rounding_of((int)(bc_float_to_bits(largest) & 0x7fffffffu));
    uint32_t *to = (uint32_t *)(out + mine);
    if (BITS) to += place / 64 * 16 + place / 4 % 4 * 4 + place / 16 % 4 - place / 4;
    int sum = 0;
    // whole warps: they, and stride, are multiples of 128
#pragma unroll 2
    for (int i = mine; i < stride; i += turn) {
        const uint32_t packed = i < p.width ? bc_round_four(rounding, x, i, p.divisor, &sum) : 0;
        *to = BITS ? transposer.of(packed) : packed;
        to += turn / 4;
    }
    sum = bc_warp_sum(sum);
    if (threadIdx.x % 32 == 0) bc_atomic_add(&room->sum, sum);
    if (threadIdx.x == blockDim.x - 1) room->scale = rounding.scale(); // its warp has least to do
}

// All of it for the token whose elements begin at `row`; whole warps. bc_prepare_begin, and the inputs, come before.
template <int SOURCE, int TURNS>
BC_DEVICE void bc_prepare_vector(const bc_prepare_args &p, int64_t row, float *x, int8_t *out,
                                 int stride, bc_prepare_room *room, bc_prepare_constants &c)
{
    bc_take_vector<SOURCE>(p, row, x, room, c);
    if (!out) return;
    bc_sync();
    bc_order_vector<TURNS>(p, x, c, &room->top);
    bc_hadamard_block(x, p.width, p.block, &room->top);
    bc_round_vector<false>(p, x, out, stride, room);
}

// ---- the only token's vector, which is placed: every thread takes its sixteen elements where they lie ----

// What is asked for before the inputs are there: its norm. A vector with a norm has no more than one turn.
BC_DEVICE bc_sixteen bc_only_begin(const bc_prepare_args &p, bc_prepare_room *room)
{
    const int mine = BC_SHARE * (int)threadIdx.x;
    if (threadIdx.x == 0) room->top = room->sum = 0;
    bc_sixteen norm = {};
    if (p.norm && mine < p.width) norm = bc_load_placed(p.norm, mine, p.cols);
    return norm;
}

// Threads meet; those that have elements go on.
BC_DEVICE void bc_norm_sixteen(const bc_prepare_args &p, const bc_sixteen &norm,
                               bc_prepare_room *room, bc_sixteen *v)
{
    const int warps = (p.width + BC_HOME - 1) / BC_HOME; // that have any: 16 at most
    const bool some = (int)threadIdx.x / 32 < warps;
    if (some) {
        bc_wide_sum even = bc_no_squares(), odd = bc_no_squares(); // neither waits for the other
#pragma unroll
        for (int k = 0; k < BC_SHARE; k += 2) {
            bc_add_square(&even, v->v[k]);
            bc_add_square(&odd, v->v[k + 1]);
        }
        const double sum = bc_warp_sum(bc_squares(even) + bc_squares(odd));
        if (threadIdx.x % 32 == 0) room->sums[threadIdx.x / 32] = sum;
    }
    bc_sync();
    if (!some) return;
    const float inverse_rms = bc_inverse_rms(p, bc_sum_of_warps(room->sums, warps));
#pragma unroll
    for (int k = 0; k < BC_SHARE; k++) v->v[k] = v->v[k] * inverse_rms * norm.v[k];
}

// x: f32 [width] of shared memory; `from` is x, or where the vector is in the card's memory.
template <bool BITS>
BC_DEVICE void bc_prepare_only(const bc_prepare_args &p, const float *from, float *x, int8_t *out,
                               int stride, bc_prepare_room *room, const bc_sixteen &norm)
{
    int top = 0;
#pragma unroll 1
    for (int base = 0; base < p.width; base += BC_SHARE * blockDim.x) { // whole warps
        const int i = base + BC_SHARE * (int)threadIdx.x;
        bc_sixteen v = {};
        if (i < p.width) v = bc_load_placed(from, i, p.cols);
        if (p.norm) bc_norm_sixteen(p, norm, room, &v);
        bc_butterflies<BC_SHARE>(v.v, p.block);
        if (p.block <= BC_SHARE) top = bc_top_of<BC_SHARE>(v.v, top);
        bc_sync_warp(); // where `from` is x, a warp's elements lie among their slots
        if (i < p.width) bc_put_slots(x, i, v);
    }
    if (p.block <= BC_SHARE) bc_note_top(top, &room->top);
    bc_sync();
    bc_hadamard_block(x, p.width, p.block, &room->top);
    bc_round_vector<BITS>(p, x, out, stride, room);
}

// ---- the kernel: one block per token ----

// `shared`: f32 [width], unless WORK: that is too much for the card, or for the threads.
template <int SOURCE, bool WORK> BC_DEVICE void bc_prepare(const bc_prepare_args &p, float *shared)
{
    BC_SHARED bc_prepare_room room;
    bc_prepare_constants constants = {};
    const int t = blockIdx.x;
    const int64_t row = (int64_t)t * p.width;
    bc_let_next_begin();
    bc_prepare_begin(p, &room, &constants);
    bc_wait_for_inputs();
    int8_t *out = p.a ? p.a + (int64_t)t * p.a_stride : nullptr;
    bc_prepare_vector<SOURCE, WORK ? BC_GPU_PREPARE_TURNS : 1>(p, row, WORK ? p.work + row : shared,
                                                               out, p.a_stride, &room, constants);
    if (!out) return;
    bc_sync();
    if (threadIdx.x == 0) {
        p.scale[t] = room.scale;
        p.sum[t] = room.sum;
    }
}

#define BC_PREPARE(name, source, work)                                                             \
    BC_KERNEL BC_BOUNDS(BC_GPU_PREPARE_THREADS, 1) name(const bc_prepare_args p)                   \
    {                                                                                              \
        BC_DYNAMIC_SHARED(vector);                                                                 \
        bc_prepare<source, work>(p, (float *)vector);                                              \
    }
BC_PREPARE(bc_prepare_x, BC_FROM_X, false)
BC_PREPARE(bc_prepare_swiglu, BC_FROM_SWIGLU, false)
BC_PREPARE(bc_prepare_wide_x, BC_FROM_X, true)
BC_PREPARE(bc_prepare_wide_swiglu, BC_FROM_SWIGLU, true)
#undef BC_PREPARE

BC_KERNEL BC_BOUNDS(256, 4) bc_add(const bc_add_args p)
{
    bc_let_next_begin();
    bc_wait_for_inputs();
    const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
    if (i < p.count) p.x[i] += p.y[i];
}
