// one.cuh - y = W x for one token, straight from the packed planes (tiles.cuh), two at a time.
//
// Where tensor cores multiply single bits (8.0 up to 10.0), digits and token go there as bits: eight groups of two planes are the
// 16 rows of a product, the halves of their digits the 256 columns, and the eight bits of each of the token's bytes its eight
// columns (bit by bit as in APNN-TC, Feng et al. 2021). Elsewhere each lane multiplies bytes.
#pragma once

enum { BC_ONE_STAGE = 2 * BC_STEP_BYTES };

// COUNT of each row of a group
template <int COUNT> struct bc_row_sums {
    int v[5][COUNT];

    BC_DEVICE void clear()
    {
#pragma unroll
        for (int i = 0; i < 5 * COUNT; i++) v[i / COUNT][i % COUNT] = 0;
    }
    BC_DEVICE void times9() // two more planes begin
    {
#pragma unroll
        for (int i = 0; i < 5 * COUNT; i++)
            v[i / COUNT][i % COUNT] = (int)(9u * (uint32_t)v[i / COUNT][i % COUNT]);
    }
};

// Sums of a tile's rows. The token is what prepare.cuh puts into shared memory.
template <bool BITS> struct bc_one_sums;

// [0] and [1] of the first plane and the token's bits 2 t and 2 t + 1, [2] and [3] of the second
template <> struct bc_one_sums<true> : bc_row_sums<4> {
    // This lane's part of the token, of the first step
    BC_DEVICE static int token_at() { return threadIdx.x % 32 * 4; }
    // Without a pair there is only the second plane.
    template <bool PAIR>
    BC_DEVICE void multiply(const bc_unit &first, const bc_unit &second, const int8_t *token)
    {
        const uint32_t bits = *(const uint32_t *)token, b[2] = { bits, bits };
        const bc_trits two = bc_take_apart(second);
        bc_trits one = {};
        if (PAIR) one = bc_take_apart(first);
#pragma unroll
        for (int i = 0; i < 5; i++) {
            const uint32_t a[4] = { one.x[i], two.x[i], one.y[i], two.y[i] };
            bc_mma_bits(v[i], a, b);
        }
    }
    // Three times the first plane and the second: what this lane knows of a row. The token's last bit counts -128.
    BC_DEVICE uint32_t share(int i) const
    {
        const int t = threadIdx.x % 4;
        const uint32_t even = 3 * (uint32_t)v[i][0] + (uint32_t)v[i][2],
                       odd = 3 * (uint32_t)v[i][1] + (uint32_t)v[i][3];
        return (even << 2 * t) + (t == 3 ? 0u - (odd << 7) : odd << (2 * t + 1));
    }
};

// [0] of the first plane and this lane's columns, [1] of the second
template <> struct bc_one_sums<false> : bc_row_sums<2> {
    BC_DEVICE static int token_at() { return threadIdx.x % 4 * BC_UNIT_HALF; }
    BC_DEVICE void add(int plane, const bc_unit &unit, const bc_words4 b[2])
    {
        const bc_trits trits = bc_take_apart(unit);
#pragma unroll
        for (int i = 0; i < 5; i++) {
            const bc_row_digits row(trits, i);
#pragma unroll
            for (int j = 0; j < BC_UNIT_WORDS; j++)
                v[i][plane] = bc_dot4_us(row.word(j), b[j / 4].w[j % 4], v[i][plane]);
        }
    }
    template <bool PAIR>
    BC_DEVICE void multiply(const bc_unit &first, const bc_unit &second, const int8_t *token)
    {
        const bc_words4 b[2] = { bc_load(token), bc_load(token + BC_HALF_COLS) };
        if (PAIR) add(0, first, b);
        add(1, second, b);
    }
    BC_DEVICE uint32_t share(int i) const { return 3 * (uint32_t)v[i][0] + (uint32_t)v[i][1]; }
};

// What a row wants at its end, asked for long before: its scales (of gate and up), and its place (see bc_linear_args).
struct bc_one_row {
    float scale, up_scale;
    uint32_t place;
};

// A warp goes through its columns two planes by two. Shared memory, in this order: each lane's ring, BC_GPU_ONE_STAGES x 2 x
// 32 bytes; i32 [2][teams][parts][BC_TEAM_ROWS] sums; the vector, f32 [width]; the token's bytes, [cols].
template <bool BITS> struct bc_one_product {
    typedef bc_one_sums<BITS> sums;
    const bc_linear_args &p;
    const bc_team team;
    uint8_t *ring; // this lane's first 16 bytes of its warp's first operand
    int *totals;
    float *vector;
    int8_t *token;
    int stage, multiplied; // where the next step's bytes are, and those of the last, which are free
    bc_copy_cursor<2> ahead;
    bc_one_row *rows;    // of its team's first unit
    float *y;            // of that
    uint32_t place;      // of what this thread's first row of it is added to
    int planes, largest; // and bc_gpu_largest of them

    BC_DEVICE bc_one_product(const bc_linear_args &args, uint8_t *shared, bc_one_row *all_rows,
                             int width)
        : p(args), team(args)
    {
        const int all = BC_GPU_ONE_STAGES * BC_ONE_STAGE;
        stage = 0;
        multiplied = all - BC_ONE_STAGE;
        ring = shared + (int)threadIdx.x / 32 * all + threadIdx.x % 32 * 16;
        totals = (int *)(shared + p.warps * p.teams * all);
        vector = (float *)(totals + 2 * total_ints() * p.teams);
        token = (int8_t *)(vector + width);
        rows = all_rows + team.team * BC_TEAM_ROWS;
        y = nullptr;
        planes = largest = 0;
        place = 0;
        ahead.begin(p, team);
    }
    BC_DEVICE int total_ints() const { return bc_parts_of(p) * BC_TEAM_ROWS; }
    // The next step's bytes, in no group yet
    BC_DEVICE void copy(int to)
    {
        if (!ahead.left) return;
        bc_copy_unit(ring + to, ahead.at, ahead.half);
        if (ahead.second)
            bc_copy_unit(ring + to + BC_STEP_BYTES, ahead.at + ahead.second, ahead.half);
        ahead.go_on(p, team);
    }
    // Before the inputs are there: weights only
    BC_DEVICE void fill_ring()
    {
#pragma unroll 1
        for (int i = 0; i < BC_GPU_ONE_STAGES - 1; i++) {
            copy(i * BC_ONE_STAGE);
            if (i == 0 && team.unit < p.first[3]) ask_for_rows();
            bc_copy_group();
        }
        for (int i = threadIdx.x; i < 2 * total_ints() * p.teams; i += 32 * p.warps * p.teams)
            totals[i] = 0;
        for (int unit = team.unit + team.units_on; unit < p.first[3]; unit += team.units_on)
            bc_unit_fetch(p, team, unit);
    }
    // They are there with the ring's first bytes.
    BC_DEVICE void ask_for_rows()
    {
        const bc_matrix_args &m = team.at.of(p);
        const int at = team.at.row(), end = m.rows - at;
        y = m.y;
        have(m);
        for (int r = first_row(); r < bc_least(BC_TEAM_ROWS, end); r += 32 * p.warps) {
            bc_copy_word_ahead(&rows[r].scale, m.scales + at + r);
            if (p.paired) bc_copy_word_ahead(&rows[r].up_scale, p.m[1].scales + at + r);
            if (p.paired) bc_copy_word_ahead(&rows[r].place, p.places + at + r);
        }
        if (m.before && first_row() < bc_least(BC_TEAM_ROWS, end))
            place = place_of(at + first_row());
    }
    BC_DEVICE void have(const bc_matrix_args &m)
    {
        planes = m.n_planes;
        largest = m.largest;
    }
    // Of what a row is added to, with a bit that does not count
    BC_DEVICE uint32_t place_of(int at) const { return p.places ? p.places[at] : (uint32_t)at; }
    BC_DEVICE int first_row() const { return (int)threadIdx.x - 32 * p.warps * team.team; }
    template <bool PAIR> BC_DEVICE void multiply_run(sums *s)
    {
        const int8_t *mine = token + team.begin * BC_STEP_COLS + sums::token_at();
#pragma unroll 1
        for (int step = team.begin; step < team.end; step++, mine += BC_STEP_COLS) {
            bc_copied<BC_GPU_ONE_STAGES - 2>();
            const bc_unit one = bc_copied_unit(ring + stage);
            if (PAIR)
                s->template multiply<true>(one, bc_copied_unit(ring + stage + BC_STEP_BYTES), mine);
            else
                s->template multiply<false>(one, one, mine);
            copy(multiplied);
            bc_copy_group();
            multiplied = stage;
            stage = stage == (BC_GPU_ONE_STAGES - 1) * BC_ONE_STAGE ? 0 : stage + BC_ONE_STAGE;
        }
    }
    BC_DEVICE void sum_up(int n_planes, int *total)
    {
        sums s;
        s.clear();
        if (n_planes % 2) multiply_run<false>(&s);
#pragma unroll 1
        for (int done = n_planes % 2; done < n_planes; done += 2) {
            if (done) s.times9();
            multiply_run<true>(&s);
        }
        int *rows_of_group = total + threadIdx.x % 32 / 4 * BC_GPU_GROUP;
#pragma unroll
        for (int i = 0; i < 5; i++) {
            int all = (int)s.share(i);
            all = (int)((uint32_t)all + (uint32_t)bc_shuffle_xor(all, 1));
            all = (int)((uint32_t)all + (uint32_t)bc_shuffle_xor(all, 2));
            if ((int)threadIdx.x % 4 == i % 4) bc_atomic_add(&rows_of_group[i], all);
        }
    }
    // A team's unit is there: rows to y, or added to it, or, of gate and up, silu(gate) * up, where and as the next matrix's
    // rotation wants it. `before` is what is in y at this thread's first row of its first unit.
    BC_DEVICE void write(const bc_tokens &t, int unit, int *total, float before)
    {
        const bool kept = unit == team.unit;
        const bc_unit_at its(p, unit);
        const bc_matrix_args &m = its.of(p);
        const int row0 = its.row();
        if (!kept) y = m.y;
        for (int r = first_row(); r < BC_TEAM_ROWS; r += 32 * p.warps) {
            const int at = row0 + r, one = total[r], two = p.paired ? total[BC_TEAM_ROWS + r] : 0;
            total[r] = 0;
            if (p.paired) total[BC_TEAM_ROWS + r] = 0;
            if (at >= m.rows) continue;
            float v = value(m, one, t, kept ? rows[r].scale : m.scales[at], at);
            uint32_t to = (uint32_t)at;
            if (p.paired) {
                const float up_scale = kept ? rows[r].up_scale : p.m[1].scales[at];
                to = kept ? rows[r].place : p.places[at];
                v = bc_flipped(v / (1.0f + bc_exp(-v)) * value(p.m[1], two, t, up_scale, at), to);
            } else if (m.before) {
                const bool known = kept && r == first_row();
                const uint32_t from = known ? place : place_of(at);
                v = (known ? before : m.before[from & BC_PLACE]) + v;
                if (m.before == y) to = from;
            }
            y[to & BC_PLACE] = v;
        }
    }
    BC_DEVICE float value(const bc_matrix_args &m, int dot, const bc_tokens &t, float scale,
                          int at) const
    {
        const float v = (float)(dot - largest * *t.sum) * (scale * *t.scale);
        return m.bias ? v + m.bias[at] : v;
    }
    BC_DEVICE void run(const bc_tokens &t)
    {
        const int all = p.first[3];
        int turn = 0;
        float before = 0.0f; // comes while the first unit is multiplied
        if (p.m[0].before && team.unit < all) {
            const int at = team.unit * BC_TEAM_ROWS + first_row(); // there is one matrix then
            if (first_row() < BC_TEAM_ROWS && at < p.m[0].rows)
                before = p.m[0].before[place & BC_PLACE];
        }
        for (int base = blockIdx.x, own = team.unit; base < all;
             base += team.units_on, own += team.units_on, turn ^= 1) {
            int *total = totals + (turn * p.teams + team.team) * total_ints();
            if (own < all && own != team.unit) have(bc_unit_at(p, own).of(p));
            for (int part = 0; own < all && part < bc_parts_of(p); part++)
                sum_up(planes, total + part * BC_TEAM_ROWS);
            bc_sync();
            if (own < all) write(t, own, total, before);
        }
    }
};

// Every block prepares the vector for itself, while its first weights are on their way: nothing waits for the end of a kernel
// with a single block. The norm is asked for before all weights, or it comes behind them. Threads load the vector themselves; one
// of many turns is brought at once: a warp without a team, which asks for no weights, waits for the inputs and has it brought.
template <bool BITS> BC_DEVICE void bc_one_token(const bc_one_args &p, uint8_t *shared)
{
    BC_SHARED bc_prepare_room room;
    BC_SHARED bc_arrival arrival;
    BC_SHARED bc_one_row rows[BC_GPU_ONE_TEAMS * BC_TEAM_ROWS];
    const int working = 32 * p.linear.warps * p.linear.teams;
    const bool brought = (int)blockDim.x > working;
    const bc_sixteen norm = bc_only_begin(p.source, &room);
    bc_one_product<BITS> product(p.linear, shared, rows, p.source.width);
    if ((int)threadIdx.x < working) {
        product.fill_ring();
    } else if ((int)threadIdx.x == working) {
        bc_wait_for_inputs();
        bc_bring(product.vector, p.source.x, p.source.width, &arrival);
    }
    bc_let_next_begin();
    bc_sync();
    bc_wait_for_inputs();
    if (brought) bc_brought(&arrival);
    bc_prepare_only<BITS>(p.source, brought ? product.vector : p.source.x, product.vector,
                          product.token, p.linear.cols, &room, norm);
    bc_sync();
    product.run({ &room.scale, &room.sum });
}

BC_KERNEL BC_BOUNDS(BC_GPU_ONE_THREADS, 1) bc_one(const bc_one_args p)
{
    BC_DYNAMIC_SHARED(shared);
    bc_one_token<true>(p, shared);
}
BC_KERNEL BC_BOUNDS(BC_GPU_ONE_THREADS, 1) bc_one_bytes(const bc_one_args p)
{
    BC_DYNAMIC_SHARED(shared);
    bc_one_token<false>(p, shared);
}
