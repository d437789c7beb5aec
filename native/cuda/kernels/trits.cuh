// trits.cuh - five digits of 0 to 2 in eight bits, so that logic of three inputs takes them apart: 32 columns of a group are
// eight words, bit k of every column's byte in word k, and sixteen operations give all their digits' two halves.
//
// The code was found by annealing: sixteen such operations between 8 bits and 5 pairs of bits whose sums are all 243 kinds of
// five digits (13 of the 256 codes are a second one of some). Which code stands for which digits follows from them
// (bc_find_codes): nothing else knows.
#pragma once

enum { BC_UNIT_COLS = BC_GPU_UNIT_COLS, BC_UNIT_WORDS = 8 };
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
};

// The code of the digits of a file's byte x, which are those of x 3^i / 256 (gemv.cuh). 256 threads, one for each x.
BC_DEVICE void bc_find_codes(uint8_t *codes)
{
    uint32_t fraction = threadIdx.x;
    uint32_t digit[5];
#pragma unroll
    for (int i = 0; i < 5; i++) {
        fraction *= 3;
        digit[i] = fraction >> 8;
        fraction &= 255;
    }
    int found = 0;
#pragma unroll 1
    for (int first = 0; first < 256; first += 32) { // 32 codes at a time
        bc_unit unit({ { 0xaaaaaaaau, 0xccccccccu, 0xf0f0f0f0u, 0xff00ff00u } },
                     { { 0xffff0000u } });
#pragma unroll
        for (int k = 5; k < 8; k++) unit.s[k] = first >> k & 1 ? 0xffffffffu : 0;
        const bc_trits t = bc_take_apart(unit);
        uint32_t same = 0xffffffffu;
#pragma unroll
        for (int i = 0; i < 5; i++) {
            const uint32_t both = t.x[i] & t.y[i], none = ~(t.x[i] | t.y[i]);
            same &= digit[i] == 0 ? none : digit[i] == 2 ? both : ~(both | none);
        }
#pragma unroll 1
        for (int k = 0; k < 32; k++) // the last one; the order does not matter
            if (same >> k & 1) found = first + k;
    }
    codes[threadIdx.x] = (uint8_t)found;
    bc_sync();
}
