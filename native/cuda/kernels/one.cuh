// one.cuh - y = W x for one token on the tensor cores, straight from the packed planes (tiles.cuh): two planes at a time,
// whose values are the rows 0 to 7 and 8 to 15 of a product. The 16 bits of each byte go there as they are, high and low,
// and the token, the same in all eight columns, with zeros where the low ones are (bc_put_widened): no byte is chosen.
#pragma once

enum { BC_ONE_STAGE = 2 * BC_STEP_BYTES };

struct bc_one_sums {
    int v[5][4]; // [i]: of H_(i+1), [0] and [1] of the first plane, [2] and [3] of the second

    BC_DEVICE void clear()
    {
#pragma unroll
        for (int i = 0; i < 20; i++) v[i / 4][i % 4] = 0;
    }
    BC_DEVICE void times9() // two more planes begin
    {
#pragma unroll
        for (int i = 0; i < 20; i++) v[i / 4][i % 4] = (int)(9u * (uint32_t)v[i / 4][i % 4]);
    }
    // 16 columns of a group. Without a pair there is only the second plane.
    template <bool PAIR>
    BC_DEVICE void multiply(const bc_words4 &first, const bc_words4 &second, const bc_words4 b[2])
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            const uint32_t one = PAIR ? first.w[i] : 0, two = second.w[i];
            uint32_t a[4] = { one & 0x00ff00ffu, two & 0x00ff00ffu, bc_bytes(one, 0, 0x4341),
                              bc_bytes(two, 0, 0x4341) };
#pragma unroll
            for (int k = 0; k < 5; k++) {
#pragma unroll
                for (int e = PAIR ? 0 : 1; e < 4; e += PAIR ? 1 : 2)
                    a[e] = k % 3 ? a[e] * 3 : bc_thrice(a[e]);
                bc_mma_us(v[k], a, &b[i / 2].w[i % 2 * 2]);
            }
        }
    }
    // total [row]: lane 4 g + t has columns 2 t and 2 t + 1 of group g, which are alike
    BC_DEVICE void add_to(int *total) const
    {
        const int t = threadIdx.x % 4;
        int *rows = total + threadIdx.x % 32 / 4 * BC_GPU_GROUP;
        uint32_t before = 0;
#pragma unroll
        for (int i = 0; i < 5; i++) {
            const uint32_t s = 3 * (uint32_t)v[i][0] + (uint32_t)v[i][2];
            if (t == i % 4) bc_atomic_add(&rows[i], (int)(s - 3 * before));
            before = s;
        }
    }
};

// What is to be copied, as in bc_copy_cursor: but a run is a warp's steps of two planes, or of the first of an odd number.
struct bc_pair_cursor {
    const uint8_t *at; // this lane's next 16 bytes
    int left, stride;  // steps of this run, 0 behind the last run; bytes
    int bytes, second; // of a plane in a step; to the other plane, or 0
    int planes;        // that are left
    int unit, part;

    BC_DEVICE void choose(const bc_team &team)
    {
        left = team.end - team.begin;
        second = planes % 2 ? 0 : bytes;
    }
    BC_DEVICE void find(const bc_linear_args &p, const bc_team &team)
    {
        left = 0;
        if (unit >= p.first[3]) return;
        at = bc_run_at(p, team, unit, part, &planes, &bytes);
        stride = planes * bytes;
        choose(team);
    }
    BC_DEVICE void begin(const bc_linear_args &p, const bc_team &team)
    {
        unit = team.unit;
        part = 0;
        find(p, team);
    }
    BC_DEVICE void go_on(const bc_linear_args &p, const bc_team &team)
    {
        at += stride;
        if (--left) return;
        const int done = second ? 2 : 1;
        planes -= done;
        if (planes) { // the same columns of the next ones
            at += done * bytes - (team.end - team.begin) * stride;
            return choose(team);
        }
        if (++part == bc_parts_of(p)) {
            part = 0;
            unit += team.units_on;
        }
        find(p, team);
    }
};

// What a row wants at its end, asked for long before: its scales (of gate and up), and its place (see bc_linear_args).
struct bc_one_row {
    float scale, up_scale;
    uint32_t place;
};

// A warp goes through its columns two planes by two. Shared memory, in this order: each lane's ring, BC_GPU_ONE_STAGES x 2 x
// 16 bytes; i32 [2][teams][parts][BC_TEAM_ROWS] sums; the vector, f32 [width], where the token's bytes are afterwards.
struct bc_one_product {
    const bc_linear_args &p;
    const bc_team team;
    uint8_t *ring; // this lane's 16 bytes of its warp's first operand
    int *totals;
    int8_t *token;
    int stage, multiplied; // where the next step's bytes are, and those of the last, which are free
    bc_pair_cursor ahead;
    bc_one_row *rows;    // of its team's first unit
    float *y;            // of that
    int planes, largest; // and bc_largest of them

    BC_DEVICE bc_one_product(const bc_linear_args &args, uint8_t *shared, bc_one_row *all_rows)
        : p(args), team(args)
    {
        const int all = BC_GPU_ONE_STAGES * BC_ONE_STAGE;
        stage = 0;
        multiplied = all - BC_ONE_STAGE;
        ring = shared + (int)threadIdx.x / 32 * all + threadIdx.x % 32 * 16;
        totals = (int *)(shared + blockDim.x / 32 * all);
        token = (int8_t *)(totals + 2 * total_ints() * p.teams);
        rows = all_rows + team.team * BC_TEAM_ROWS;
        y = nullptr;
        planes = largest = 0;
        ahead.begin(p, team);
    }
    BC_DEVICE int total_ints() const { return bc_parts_of(p) * BC_TEAM_ROWS; }
    BC_DEVICE void copy(int to)
    {
        if (ahead.left) {
            bc_copy_ahead(ring + to, ahead.at);
            if (ahead.second) bc_copy_ahead(ring + to + BC_STEP_BYTES, ahead.at + ahead.second);
            ahead.go_on(p, team);
        }
        bc_copy_group();
    }
    // Before the inputs are there: weights only
    BC_DEVICE void fill_ring()
    {
        if (team.unit < p.first[3]) ask_for_rows();
#pragma unroll 1
        for (int i = 0; i < BC_GPU_ONE_STAGES - 1; i++) copy(i * BC_ONE_STAGE);
        for (int i = threadIdx.x; i < 2 * total_ints() * p.teams; i += blockDim.x) totals[i] = 0;
        for (int unit = team.unit + team.units_on; unit < p.first[3]; unit += team.units_on)
            bc_unit_fetch(p, team, unit);
    }
    // They are there with the ring's first bytes.
    BC_DEVICE void ask_for_rows()
    {
        const bc_matrix_args &m = bc_unit_matrix(p, team.unit, 0);
        const int at = bc_unit_tile(p, team.unit) * BC_TEAM_ROWS, end = m.rows - at;
        y = m.y;
        have(m.n_planes);
        for (int r = first_row(); r < bc_least(BC_TEAM_ROWS, end); r += 32 * p.warps) {
            bc_copy_word_ahead(&rows[r].scale, m.scales + at + r);
            if (p.paired) bc_copy_word_ahead(&rows[r].up_scale, p.m[1].scales + at + r);
            if (p.paired && p.places) bc_copy_word_ahead(&rows[r].place, p.places + at + r);
        }
    }
    BC_DEVICE void have(int n_planes)
    {
        planes = n_planes;
        largest = bc_largest(n_planes);
    }
    BC_DEVICE int first_row() const { return (int)threadIdx.x - 32 * p.warps * team.team; }
    template <bool PAIR> BC_DEVICE void multiply_run(bc_one_sums *s)
    {
        const int8_t *mine = token + 2 * (team.begin * BC_STEP_COLS + (int)threadIdx.x % 4 * 16);
#pragma unroll 1
        for (int step = team.begin; step < team.end; step++, mine += 2 * BC_STEP_COLS) {
            bc_copied<BC_GPU_ONE_STAGES - 2>();
            const bc_words4 b[2] = { bc_load(mine), bc_load(mine + 16) };
            const bc_words4 one = bc_load(ring + stage);
            if (PAIR)
                s->multiply<true>(one, bc_load(ring + stage + BC_STEP_BYTES), b);
            else
                s->multiply<false>(one, one, b);
            copy(multiplied);
            multiplied = stage;
            stage = stage == (BC_GPU_ONE_STAGES - 1) * BC_ONE_STAGE ? 0 : stage + BC_ONE_STAGE;
        }
    }
    BC_DEVICE void sum_up(int n_planes, int *total)
    {
        bc_one_sums s;
        s.clear();
        if (n_planes % 2) multiply_run<false>(&s);
#pragma unroll 1
        for (int done = n_planes % 2; done < n_planes; done += 2) {
            if (done) s.times9();
            multiply_run<true>(&s);
        }
        s.add_to(total);
    }
    // A team's unit is there: rows to y, or added to it, or, of gate and up, silu(gate) * up, where and as the next matrix's
    // rotation wants it. `before` is what is in y at this thread's first row of its first unit.
    BC_DEVICE void write(const bc_tokens &t, int unit, int *total, float before)
    {
        const bool kept = unit == team.unit;
        const bc_matrix_args &m = bc_unit_matrix(p, unit, 0);
        const int row0 = bc_unit_tile(p, unit) * BC_TEAM_ROWS;
        if (!kept) y = m.y;
        for (int r = first_row(); r < BC_TEAM_ROWS; r += 32 * p.warps) {
            const int at = row0 + r, one = total[r], two = p.paired ? total[BC_TEAM_ROWS + r] : 0;
            total[r] = 0;
            if (p.paired) total[BC_TEAM_ROWS + r] = 0;
            if (at >= m.rows) continue;
            float v = value(m, one, t, kept ? rows[r].scale : m.scales[at], at);
            uint32_t place = (uint32_t)at;
            if (p.paired) {
                const float up_scale = kept ? rows[r].up_scale : p.m[1].scales[at];
                if (p.places) place = kept ? rows[r].place : p.places[at];
                v = bc_flipped(v / (1.0f + bc_exp(-v)) * value(p.m[1], two, t, up_scale, at),
                               place);
            } else if (m.add) {
                v = (kept && r == first_row() ? before : y[at]) + v;
            }
            y[place & BC_PLACE] = v;
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
        if (p.m[0].add && team.unit < all) {
            const int at = team.unit * BC_TEAM_ROWS + first_row(); // there is one matrix then
            if (first_row() < BC_TEAM_ROWS && at < p.m[0].rows) before = y[at];
        }
        for (int base = blockIdx.x, own = team.unit; base < all;
             base += team.units_on, own += team.units_on, turn ^= 1) {
            int *total = totals + (turn * p.teams + team.team) * total_ints();
            if (own < all && own != team.unit) have(bc_unit_matrix(p, own, 0).n_planes);
            for (int part = 0; own < all && part < bc_parts_of(p); part++)
                sum_up(planes, total + part * BC_TEAM_ROWS);
            bc_sync();
            if (own < all) write(t, own, total, before);
        }
    }
};

// Every block prepares the vector for itself, while its first weights are on their way: nothing waits for the end of a kernel
// with a single block.
BC_KERNEL BC_BOUNDS(BC_GPU_ONE_THREADS, 1) bc_one(const bc_one_args p)
{
    BC_DYNAMIC_SHARED(shared);
    BC_SHARED bc_prepare_room room;
    BC_SHARED bc_one_row rows[BC_GPU_ONE_TEAMS * BC_TEAM_ROWS];
    bc_one_product product(p.linear, shared, rows);
    bc_prepare_constants constants = {};
    product.fill_ring();
    bc_prepare_begin(p.source, &room, &constants);
    bc_let_next_begin();
    bc_wait_for_inputs();
    bc_prepare_vector<BC_FROM_X, 1, true>(p.source, 0, (float *)product.token, product.token,
                                          p.linear.cols, &room, constants);
    bc_sync();
    product.run({ &room.scale, &room.sum });
}
