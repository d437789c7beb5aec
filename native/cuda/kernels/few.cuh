// few.cuh - y = W x for up to 32 tokens: the kernels of tiles.cuh.
#pragma once

// A warp goes through its columns plane by plane. Shared memory, in this order: each lane's ring, STAGES x (1 and, where the
// tokens are STREAMED, one for each eight of them) x 32 bytes; i32 [2][teams][parts][BC_TEAM_ROWS][PITCH] sums; i8
// [n, pitch] the tokens where they are not STREAMED.
template <class SUMS, int STAGES, bool STREAMED> struct bc_few {
    static const int LOADS = SUMS::LOADS;
    static const int STAGE = (1 + (STREAMED ? LOADS : 0)) * BC_STEP_BYTES;
    typedef SUMS sums;
    const bc_linear_args &p;
    const bc_team team;
    uint8_t *ring; // this lane's first 16 bytes of its warp's first operand
    int *totals;
    int8_t *tokens;
    int mine[LOADS];       // where this lane's share of a step is: in them, or in a ring's stage
    int stage, multiplied; // where the next step's bytes are, and those of the last, which are free
    bc_copy_cursor<1> ahead;

    BC_DEVICE bc_few(const bc_linear_args &args, uint8_t *shared) : p(args), team(args)
    {
        stage = 0;
        multiplied = (STAGES - 1) * STAGE;
        ring = shared + (int)threadIdx.x / 32 * STAGES * STAGE + threadIdx.x % 32 * 16;
        totals = (int *)(shared + blockDim.x / 32 * STAGES * STAGE);
        tokens = (int8_t *)(totals + 2 * total_ints() * p.teams);
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            mine[k] = STREAMED ? (1 + k) * BC_STEP_BYTES
                               : bc_least(sums::token_of_lane(k), p.n - 1) * token_pitch() +
                                     (int)threadIdx.x % 4 * BC_UNIT_HALF;
        ahead.begin(p, team);
    }
    BC_DEVICE int total_ints() const { return bc_parts_of(p) * BC_TEAM_ROWS * sums::PITCH; }
    // Bytes from a token to the next
    BC_DEVICE int token_pitch() const { return bc_gpu_token_pitch(p.cols); }
    // This lane's first 16 bytes of its token, of the step from `column` on
    BC_DEVICE const int8_t *token(int k, int column) const
    {
        const int t = bc_least(sums::token_of_lane(k), p.n - 1);
        return p.a + (t * p.a_stride + column + (int)threadIdx.x % 4 * BC_UNIT_HALF);
    }
    BC_DEVICE void copy_tokens(int to, int column)
    {
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            bc_copy_unit(ring + to + (1 + k) * BC_STEP_BYTES, (const uint8_t *)token(k, column),
                         BC_HALF_COLS);
    }
    // Before the inputs are there: weights only. Where tokens are streamed, each stage's copies are one group, made when
    // the tokens are there.
    BC_DEVICE void fill_ring()
    {
#pragma unroll 1
        for (int i = 0; i < STAGES - 1; i++) {
            if (ahead.left) {
                bc_copy_unit(ring + i * STAGE, ahead.at, ahead.half);
                ahead.go_on(p, team);
            }
        }
        for (int i = threadIdx.x; i < 2 * total_ints() * p.teams; i += blockDim.x) totals[i] = 0;
        for (int unit = team.unit; unit < p.first[3]; unit += team.units_on)
            bc_unit_fetch(p, team, unit);
    }
    BC_DEVICE void fill_tokens()
    {
        if (!STREAMED) {
            const int pieces = p.cols / 16, stride = (int)blockDim.x;
            int t = 0;
            for (int c = threadIdx.x; t < p.n; c += stride) {
                for (; c >= pieces && t < p.n; c -= pieces) t++;
                if (t < p.n)
                    bc_copy_ahead(tokens + t * token_pitch() + 16 * c,
                                  p.a + (int64_t)t * p.a_stride + 16 * c);
            }
            bc_copy_group();
            bc_copied<0>();
            return;
        }
        bc_copy_cursor<1> first;
        first.begin(p, team);
#pragma unroll 1
        for (int i = 0; i < STAGES - 1; i++) {
            if (first.left) {
                copy_tokens(i * STAGE, first.column);
                first.go_on(p, team);
            }
            bc_copy_group();
        }
    }
    BC_DEVICE void multiply(sums *s, int column)
    {
        bc_copied<STAGES - 2>();
        const uint8_t *from = ring + stage;
        s->multiply(bc_copied_unit(from), STREAMED ? from : (const uint8_t *)tokens + column, mine,
                    STREAMED ? (int)BC_STEP_HALF : (int)BC_HALF_COLS);
        if (ahead.left) {
            bc_copy_unit(ring + multiplied, ahead.at, ahead.half);
            if (STREAMED) copy_tokens(multiplied, ahead.column);
            ahead.go_on(p, team);
        }
        bc_copy_group();
        multiplied = stage;
        stage = stage == (STAGES - 1) * STAGE ? 0 : stage + STAGE;
    }
    BC_DEVICE void run(const bc_tokens &t)
    {
        const int all = p.first[3];
        int turn = 0;
        for (int base = blockIdx.x, own = team.unit; base < all;
             base += team.units_on, own += team.units_on, turn ^= 1) {
            int *total = totals + (turn * p.teams + team.team) * total_ints();
            for (int part = 0; own < all && part < bc_parts_of(p); part++) {
                sums s;
                s.clear();
                for (int k = bc_unit_at(p, own).of(p, part).n_planes; k > 0; k--) {
                    s.times3();
#pragma unroll 1
                    for (int column = team.begin * BC_STEP_COLS; column < team.end * BC_STEP_COLS;
                         column += BC_STEP_COLS)
                        multiply(&s, column);
                }
                s.add_to(total + part * BC_TEAM_ROWS * sums::PITCH, p.n);
            }
            bc_sync();
            if (own < all) bc_unit_write<sums::PITCH>(p, t, team, own, total);
        }
    }
};

#define BC_FEW(name, tiles, stages, streamed, threads)                                             \
    BC_KERNEL BC_BOUNDS(threads, 1) name(const bc_linear_args p)                                   \
    {                                                                                              \
        BC_DYNAMIC_SHARED(shared);                                                                 \
        bc_few<bc_digit_sums<tiles>, stages, streamed> few(p, shared);                             \
        few.fill_ring();                                                                           \
        bc_let_next_begin();                                                                       \
        bc_wait_for_inputs();                                                                      \
        few.fill_tokens();                                                                         \
        bc_sync();                                                                                 \
        few.run({ p.scale, p.sum });                                                               \
    }
BC_FEW(bc_few_8, 1, BC_GPU_FEW_STAGES, false, BC_GPU_FEW_THREADS)
BC_FEW(bc_few_32, 4, BC_GPU_FEW_STAGES, false, BC_GPU_DOZEN_THREADS)
BC_FEW(bc_few_32_streamed, 4, BC_GPU_DOZEN_STAGES, true, BC_GPU_DOZEN_THREADS)
#undef BC_FEW
