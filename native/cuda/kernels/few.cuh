// few.cuh - y = W x for up to 32 tokens: the kernels of tiles.cuh.
#pragma once

// A warp goes through its columns plane by plane. Shared memory, in this order: each lane's ring, STAGES x (1 and, where the
// tokens are STREAMED, one for each eight of them) x 16 bytes; i32 [2][teams][parts][BC_TEAM_ROWS][TOKENS] sums; i8
// [n, cols] the tokens where they are not STREAMED.
template <class SUMS, int STAGES, bool STREAMED> struct bc_few {
    static const int TOKENS = SUMS::TOKENS, LOADS = SUMS::LOADS;
    typedef SUMS sums;
    const bc_linear_args &p;
    const bc_team team;
    uint8_t *ring; // this lane's 16 bytes of its warp's first operand
    int *totals;
    int8_t *tokens;
    int stage, stage_bytes;
    bc_copy_cursor ahead;

    BC_DEVICE bc_few(const bc_linear_args &args, uint8_t *shared) : p(args), team(args)
    {
        stage = 0;
        stage_bytes = (1 + (STREAMED ? LOADS : 0)) * BC_STEP_BYTES;
        ring = shared + (int)threadIdx.x / 32 * STAGES * stage_bytes + threadIdx.x % 32 * 16;
        totals = (int *)(shared + blockDim.x / 32 * STAGES * stage_bytes);
        tokens = (int8_t *)(totals + 2 * total_ints() * p.teams);
        ahead.begin(p, team);
    }
    BC_DEVICE int total_ints() const { return bc_parts_of(p) * BC_TEAM_ROWS * TOKENS; }
    BC_DEVICE void copy_tokens(int to, int step)
    {
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            bc_copy_ahead(ring + to * stage_bytes + (1 + k) * BC_STEP_BYTES,
                          token(p.a, p.a_stride, k, step));
    }
    // This lane's 16 bytes of its token in a step
    BC_DEVICE const int8_t *token(const int8_t *a, int stride, int k, int step) const
    {
        return a + (int64_t)bc_least(sums::token_of_lane(k), p.n - 1) * stride +
               step * BC_STEP_COLS + threadIdx.x % 4 * 16;
    }
    // Before the inputs are there: weights only. Where tokens are streamed, each stage's copies are one group, made when
    // the tokens are there.
    BC_DEVICE void fill_ring()
    {
#pragma unroll 1
        for (int i = 0; i < STAGES - 1; i++) {
            if (ahead.valid(p)) {
                bc_copy_ahead(ring + i * stage_bytes, ahead.mine());
                ahead.go_on(p, team);
            }
            if (!STREAMED) bc_copy_group();
        }
        for (int i = threadIdx.x; i < 2 * total_ints() * p.teams; i += blockDim.x) totals[i] = 0;
    }
    BC_DEVICE void fill_tokens()
    {
        if (!STREAMED) {
            for (int t = 0; t < p.n; t++)
                for (int c = threadIdx.x * 16; c < p.cols; c += blockDim.x * 16)
                    bc_put(tokens + t * p.cols + c, bc_load(p.a + (int64_t)t * p.a_stride + c));
            return;
        }
        bc_copy_cursor first;
        first.begin(p, team);
#pragma unroll 1
        for (int i = 0; i < STAGES - 1; i++) {
            if (first.valid(p)) {
                copy_tokens(i, first.step);
                first.go_on(p, team);
            }
            bc_copy_group();
        }
    }
    BC_DEVICE void multiply(sums *s, int step)
    {
        bc_copied<STAGES - 2>();
        const uint8_t *from = ring + stage * stage_bytes;
        bc_words4 b[LOADS];
#pragma unroll
        for (int k = 0; k < LOADS; k++)
            b[k] = bc_load(STREAMED ? (const void *)(from + (1 + k) * BC_STEP_BYTES)
                                    : (const void *)token(tokens, p.cols, k, step));
        s->multiply(bc_load(from), b);
        if (ahead.valid(p)) {
            const int to = stage ? stage - 1 : STAGES - 1; // what was multiplied before
            bc_copy_ahead(ring + to * stage_bytes, ahead.mine());
            if (STREAMED) copy_tokens(to, ahead.step);
            ahead.go_on(p, team);
        }
        bc_copy_group();
        stage = stage + 1 == STAGES ? 0 : stage + 1;
    }
    BC_DEVICE void run()
    {
        const int all = p.first[p.count];
        int turn = 0;
        for (int base = blockIdx.x, own = team.unit; base < all;
             base += team.units_on, own += team.units_on, turn ^= 1) {
            int *total = totals + (turn * p.teams + team.team) * total_ints();
            for (int part = 0; own < all && part < bc_parts_of(p); part++) {
                sums s;
                s.clear();
                for (int k = bc_unit_matrix(p, own, part).n_planes; k > 0; k--) {
                    s.times3();
#pragma unroll 1
                    for (int step = team.begin; step < team.end; step++) multiply(&s, step);
                }
                s.add_to(total + part * BC_TEAM_ROWS * TOKENS, p.n);
            }
            bc_sync();
            if (own < all) bc_unit_write(p, { p.scale, p.sum }, team, own, total, TOKENS);
        }
    }
};

#define BC_FEW(name, sums, stages, streamed, threads)                                              \
    BC_KERNEL BC_BOUNDS(threads, 1) name(const bc_linear_args p)                                   \
    {                                                                                              \
        BC_DYNAMIC_SHARED(shared);                                                                 \
        bc_few<sums, stages, streamed> few(p, shared);                                             \
        few.fill_ring();                                                                           \
        bc_let_next_begin();                                                                       \
        bc_wait_for_inputs();                                                                      \
        few.fill_tokens();                                                                         \
        bc_sync();                                                                                 \
        few.run();                                                                                 \
    }
BC_FEW(bc_few_1, bc_dot_sums, BC_GPU_FEW_STAGES, false, BC_GPU_FEW_THREADS)
BC_FEW(bc_few_8, bc_high_sums<1>, BC_GPU_FEW_STAGES, false, BC_GPU_FEW_THREADS)
BC_FEW(bc_few_32, bc_high_sums<4>, BC_GPU_DOZEN_STAGES, true, BC_GPU_DOZEN_THREADS)
#undef BC_FEW
