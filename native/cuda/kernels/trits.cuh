// trits.cuh - five digits of 0 to 2 in eight bits, so that logic of three inputs takes them apart: 32 columns of a group are
// eight words, bit k of every column's byte in word k, and sixteen operations give all their digits' two halves.
//
// The code was found by annealing: sixteen such operations between 8 bits and 5 pairs of bits whose sums are all 243 kinds of
// five digits (13 of the 256 codes are a second one of some). Which code stands for which digits follows from them
// (bc_find_codes): nothing else knows.
#pragma once

enum { BC_UNIT_COLS = BC_GPU_UNIT_COLS, BC_UNIT_WORDS = 8, BC_UNIT_NUMBERS = 243 };
// Column c of a unit is bit bc_unit_bit(c) of its words: four neighbouring columns lie in a byte each.
BC_DEVICE int bc_unit_bit(int column) { return column % 4 * 8 + column / 4; }

struct bc_trits { // row i's digit is x[i] + y[i], a bit for each column
    uint32_t x[5], y[5];
};

struct bc_unit {
    uint32_t s[BC_UNIT_WORDS];

    BC_DEVICE bc_unit() {}
    BC_DEVICE bc_unit(const bc_words4 &low, const bc_words4 &high)
    {
#pragma unroll
        for (int i = 0; i < 4; i++) {
            s[i] = low.w[i];
            s[4 + i] = high.w[i];
        }
    }
};

BC_DEVICE bc_trits bc_take_apart(const bc_unit &unit)
{
    const uint32_t *s = unit.s;
    const uint32_t a = bc_logic<0xfb>(s[6], s[3], s[2]), b = bc_logic<0x72>(s[7], s[3], a),
                   c = bc_logic<0x56>(s[5], a, s[3]), d = bc_logic<0x3b>(s[5], a, s[4]),
                   e = bc_logic<0xaf>(a, s[6], s[5]), f = bc_logic<0x94>(b, s[3], s[6]),
                   g = bc_logic<0x24>(f, s[1], s[0]), h = bc_logic<0x3c>(s[5], g, e),
                   i = bc_logic<0x4e>(s[2], s[4], a),
                   j = bc_logic<0x5c>(bc_logic<0x97>(h, a, s[5]), i, f),
                   k = bc_logic<0x6b>(c, bc_logic<0xfa>(j, g, s[2]), g);
    return { { bc_logic<0x6a>(c, g, s[1]), j, b, bc_logic<0xf9>(d, s[7], s[4]),
               bc_logic<0xb8>(e, s[7], d) },
             { s[0], i, k, d, e } };
}

// The digits of a row, a byte for each of four columns: word j is of columns 4 j to 4 j + 3 of a unit, or of its second half
struct bc_row_digits {
    uint32_t even, odd; // two bits for each column, of words 0, 2, 4, 6 and 1, 3, 5, 7

    BC_DEVICE bc_row_digits(const bc_trits &t, int row, int half = 0)
    {
        const uint32_t low = 0x55555555u;
        even = ((t.x[row] & low) + (t.y[row] & low)) >> 4 * half;
        odd = ((t.x[row] >> 1 & low) + (t.y[row] >> 1 & low)) >> 4 * half;
    }
    BC_DEVICE uint32_t word(int j) const { return (j % 2 ? odd : even) >> (j & 6) & 0x03030303u; }
    // q = 3 q + digit of half a unit's columns
    BC_DEVICE void add_to(bc_words4 *q) const
    {
#pragma unroll
        for (int j = 0; j < 4; j++) q->w[j] = 3 * q->w[j] + word(j);
    }
};

// The code of every number of five digits, the first row's the highest. 256 threads, one for each code.
BC_DEVICE void bc_find_codes(int codes[BC_UNIT_NUMBERS])
{
    const int code = threadIdx.x;
    if (code < BC_UNIT_NUMBERS) codes[code] = 0;
    bc_unit unit;
#pragma unroll
    for (int k = 0; k < BC_UNIT_WORDS; k++) unit.s[k] = (uint32_t)code >> k & 1;
    const bc_trits t = bc_take_apart(unit);
    uint32_t number = 0;
#pragma unroll
    for (int i = 0; i < 5; i++) number = 3 * number + (t.x[i] & 1) + (t.y[i] & 1);
    bc_sync();
    bc_atomic_max(&codes[number], code); // where there are two
    bc_sync();
}
// A file's byte is ceil(256 number / 243) (gemv.cuh); of others the digits are the same as there.
BC_DEVICE uint32_t bc_code_of(const int codes[BC_UNIT_NUMBERS], uint32_t byte)
{
    return (uint32_t)codes[byte * BC_UNIT_NUMBERS >> 8];
}
