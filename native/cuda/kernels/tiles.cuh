// tiles.cuh - y = W x for one to 32 tokens straight from the packed planes (tiled.cuh): nothing is decoded into memory. Here:
// the sums of a tile, which warp has which part of which tile, and from the sums to rows.
//
// Eight groups of five rows are a tile: 8 groups x two values as the 16 rows of a product. The columns of a step may come in
// any order as long as both sides agree: lane 4 g + t has unit t of group g, 32 columns, and of its token the same, so every
// load is 16 bytes wide.
//
// A block's warps form teams. A team has one tile at a time (or one of gate and the same of up), whose columns its warps
// share. Columns are padded with zeros to whole steps; lanes without a token repeat the last one.
#pragma once

enum { BC_TEAM_ROWS = BC_STEP_GROUPS * BC_GPU_GROUP };

// ---- TILES of eight tokens in the eight columns of a product ----

// v[..][0] of rows 0 and 1 of the groups, [1] of rows 2 and 3, [2] of row 4
template <int TILES> struct bc_digit_sums {
    static const int LOADS = TILES;
    static const int PITCH = TILES == 1 ? BC_GPU_FEW_PITCH : BC_GPU_DOZEN_PITCH;
    int v[TILES][3][4];

    BC_DEVICE static int token_of_lane(int tile) { return 8 * tile + (int)threadIdx.x % 32 / 4; }
    BC_DEVICE void clear()
    {
#pragma unroll
        for (int i = 0; i < TILES * 12; i++) v[i / 12][i / 4 % 3][i % 4] = 0;
    }
    BC_DEVICE void times3() // another plane begins
    {
#pragma unroll
        for (int i = 0; i < TILES * 12; i++)
            v[i / 12][i / 4 % 3][i % 4] = (int)(3u * (uint32_t)v[i / 12][i / 4 % 3][i % 4]);
    }
    // A step: a unit, and its columns of this lane's token of each tile: they begin at[tile] bytes from `tokens`, the second
    // sixteen `half` bytes further.
    BC_DEVICE void multiply(const bc_unit &unit, const uint8_t *tokens, const int at[TILES],
                            int half)
    {
        const bc_trits trits = bc_take_apart(unit);
        const bc_row_digits rows[5] = {
            { trits, 0 }, { trits, 1 }, { trits, 2 }, { trits, 3 }, { trits, 4 }
        };
#pragma unroll
        for (int j = 0; j < BC_UNIT_WORDS; j += 4) {
            bc_words4 b[TILES];
#pragma unroll
            for (int k = 0; k < TILES; k++) b[k] = bc_load(tokens + at[k] + j / 4 * half);
#pragma unroll
            for (int e = 0; e < 4; e += 2) {
                const int one = j + e, two = one + 1;
                const uint32_t a[3][4] = {
                    { rows[0].word(one), rows[1].word(one), rows[0].word(two), rows[1].word(two) },
                    { rows[2].word(one), rows[3].word(one), rows[2].word(two), rows[3].word(two) },
                    { rows[4].word(one), 0, rows[4].word(two), 0 }
                };
#pragma unroll
                for (int k = 0; k < TILES; k++)
#pragma unroll
                    for (int i = 0; i < 3; i++) bc_mma_us(v[k][i], a[i], b[k].w + e);
            }
        }
    }
    // total [row][PITCH]
    BC_DEVICE void add_to(int *total, int n) const
    {
        const int lane = threadIdx.x % 32;
#pragma unroll
        for (int tile = 0; tile < TILES; tile++)
#pragma unroll
            for (int e = 0; e < 2; e++) {
                const int token = 8 * tile + lane % 4 * 2 + e;
                if (token >= n) continue;
#pragma unroll
                for (int i = 0; i < 5; i++)
                    bc_atomic_add(&total[(lane / 4 * BC_GPU_GROUP + i) * PITCH + token],
                                  v[tile][i / 2][i % 2 * 2 + e]);
            }
    }
};

// ---- which warp has what ----

// Where a unit is: its matrix, or that of its first part, and the tile in it. Of gate and up, `first` counts one.
struct bc_unit_at {
    int matrix, tile;

    BC_DEVICE bc_unit_at(const bc_linear_args &p, int unit)
    {
        matrix = 0;
        tile = unit;
        if (unit >= p.first[1]) {
            matrix = 1;
            tile = unit - p.first[1];
        }
        if (unit >= p.first[2]) {
            matrix = 2;
            tile = unit - p.first[2];
        }
    }
    BC_DEVICE const bc_matrix_args &of(const bc_linear_args &p, int part = 0) const
    {
        return p.m[matrix + part];
    }
    BC_DEVICE int row() const { return tile * BC_TEAM_ROWS; } // the first
};

// A unit is a tile of one of the matrices or, of gate and up, the same tile of both: two parts. No division: it would take
// longer than a step.
struct bc_team {
    int unit, units_on; // the first of this team; from one to its next
    bc_unit_at at;      // of the first
    int begin, end;     // this warp's steps of a part
    int team;

    BC_DEVICE explicit bc_team(const bc_linear_args &p) : at(p, 0)
    {
        int own = (int)threadIdx.x / 32;
        for (team = 0; own >= p.warps; team++) own -= p.warps;
        units_on = (int)gridDim.x * p.teams;
        // a warp behind the last team has none
        unit = team < p.teams ? (int)blockIdx.x + (int)gridDim.x * team : p.first[3];
        at = bc_unit_at(p, unit);
        begin = own * p.warp_steps;
        end = bc_least(begin + p.warp_steps, p.cols / BC_STEP_COLS);
    }
};

BC_DEVICE int bc_parts_of(const bc_linear_args &p) { return p.paired ? 2 : 1; }

// ---- what is to be copied: step by step, plane by plane, part by part, unit by unit ----

// This lane's first 16 bytes of a warp's share of a part of a unit; how many planes there are, and the bytes of half a one in
// a step.
BC_DEVICE const uint8_t *bc_run_at(const bc_linear_args &p, const bc_team &team,
                                   const bc_unit_at &unit, int part, int *planes, int *half)
{
    const bc_matrix_args &m = unit.of(p, part);
    const int tile = unit.tile, lane = threadIdx.x % 32;
    *half = bc_half_bytes((m.rows + BC_GPU_GROUP - 1) / BC_GPU_GROUP, tile);
    *planes = m.n_planes;
    // a lane without a group repeats the last one's
    return m.data + (int64_t)tile * (BC_STEP_GROUPS * *planes) * p.cols +
           team.begin * (*planes * 2 * *half) +
           bc_least(lane / 4 * BC_HALF_COLS, *half - BC_HALF_COLS) + lane % 4 * 16;
}

// Both halves of this lane's unit
BC_DEVICE void bc_copy_unit(uint8_t *to, const uint8_t *at, int half)
{
    bc_copy_ahead(to, at);
    bc_copy_ahead(to + BC_STEP_HALF, at + half);
}
BC_DEVICE bc_unit bc_copied_unit(const uint8_t *from)
{
    return bc_unit(bc_load(from), bc_load(from + BC_STEP_HALF));
}

// A run is a warp's steps of PLANES planes, or of the first of an odd number: within it the next copy is `stride` bytes
// further.
template <int PLANES> struct bc_copy_cursor {
    const uint8_t *at; // this lane's next 16 bytes
    int left, stride;  // steps of this run, 0 behind the last run; bytes
    int column;        // of the tokens
    int half, second;  // bytes of half a plane in a step; to the other plane of a run, or 0
    int planes;        // that are left
    int unit, part;

    BC_DEVICE void choose(const bc_team &team)
    {
        left = team.end - team.begin;
        column = team.begin * BC_STEP_COLS;
        second = planes % PLANES ? 0 : (PLANES - 1) * 2 * half;
    }
    BC_DEVICE void find(const bc_linear_args &p, const bc_team &team, const bc_unit_at &its)
    {
        left = 0;
        if (unit >= p.first[3]) return;
        at = bc_run_at(p, team, its, part, &planes, &half);
        stride = planes * 2 * half;
        choose(team);
    }
    BC_DEVICE void begin(const bc_linear_args &p, const bc_team &team)
    {
        unit = team.unit;
        part = 0;
        find(p, team, team.at);
    }
    BC_DEVICE void go_on(const bc_linear_args &p, const bc_team &team)
    {
        at += stride;
        column += BC_STEP_COLS;
        if (--left) return;
        const int done = second ? PLANES : 1;
        planes -= done;
        if (planes) { // the same columns of the next ones
            at += done * 2 * half - (team.end - team.begin) * stride;
            return choose(team);
        }
        if (++part == bc_parts_of(p)) {
            part = 0;
            unit += team.units_on;
        }
        find(p, team, bc_unit_at(p, unit));
    }
};

// ---- from the sums to rows ----

struct bc_tokens { // their scales and the sums of their elements
    const float *scale;
    const int32_t *sum;
};

BC_DEVICE float bc_unit_value(const bc_matrix_args &m, const bc_tokens &t, int row, int token,
                              int dot)
{
    const float y = (float)(dot - m.largest * t.sum[token]) * (m.scales[row] * t.scale[token]);
    return m.bias ? y + m.bias[row] : y;
}

// What a unit's rows need at their end, on its way into the cache, out of which a token's weights have pushed it. Sectors of
// 32 bytes.
BC_DEVICE void bc_unit_fetch(const bc_linear_args &p, const bc_team &team, int unit)
{
    const bc_unit_at its(p, unit);
    const int row0 = its.row(), end = bc_least(BC_TEAM_ROWS, its.of(p).rows - row0);
    for (int r = 8 * ((int)threadIdx.x - 32 * p.warps * team.team); r < end;
         r += 8 * 32 * p.warps) {
        for (int part = 0; part < bc_parts_of(p); part++)
            bc_prefetch(its.of(p, part).scales + row0 + r);
        if (p.places) bc_prefetch(p.places + row0 + r);
    }
}

// A team's unit is there: rows to y, or added to it, or, of gate and up, silu(gate) * up to the first matrix's y at the
// place and with the sign that the next matrix's rotation wants. total i32 [part][row][PITCH] is 0 afterwards.
template <int PITCH>
BC_DEVICE void bc_unit_write(const bc_linear_args &p, const bc_tokens &t, const bc_team &team,
                             int unit, int *total)
{
    const bc_unit_at its(p, unit);
    const bc_matrix_args &m = its.of(p);
    const int row0 = its.row(), all = BC_TEAM_ROWS * p.n;
    for (int i = (int)threadIdx.x - 32 * p.warps * team.team; i < all; i += 32 * p.warps) {
        const int r = i % BC_TEAM_ROWS, token = i / BC_TEAM_ROWS, row = row0 + r;
        int *one_at = total + r * PITCH + token, *two_at = one_at + BC_TEAM_ROWS * PITCH;
        const int one = *one_at, two = p.paired ? *two_at : 0;
        *one_at = 0;
        if (p.paired) *two_at = 0;
        if (row >= m.rows) continue;
        const uint32_t place = p.places ? p.places[row] : (uint32_t)row;
        const int64_t first = (int64_t)token * m.y_stride;
        const float before = // asked for together with the scales
            m.before ? m.before[first + (place & BC_PLACE)] : 0.0f;
        float *to = m.y + first + (p.paired || m.before == m.y ? (int)(place & BC_PLACE) : row);
        const float y = bc_unit_value(m, t, row, token, one);
        if (!p.paired) {
            *to = m.before ? before + y : y;
            continue;
        }
        *to =
            bc_flipped(y / (1.0f + bc_exp(-y)) * bc_unit_value(p.m[1], t, row, token, two), place);
    }
}
