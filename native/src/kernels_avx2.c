/* kernels_avx2.c - the kernels for AVX2, FMA and F16C.
 *
 * Integers: vpmaddubsw takes unsigned times signed bytes and saturates at 16 bits, so the
 * unsigned side is kept small: digits 0..2, plane sums 0..80, or |w| <= 127 with the sign moved
 * to the activation. Sums reach 32 bits before they can overflow, so all results are exact.
 *
 * Panels are [5 rows of a group][cols/4][16 groups][4 columns] bytes: 2 vectors per step. */
#include "simd_avx2.inc"

#include "bitconverter.h"
#include "fetch.h"
#include "kernels.h"
#include "planes.h"

#define DENSE_TOKENS 6
#define DOT_TOKENS 2
#include "kernels_float.inc"

#include "kernels_dense.inc"
#include "kernels_gradient.inc"
#define WORD_TOKENS 4
#include "kernels_back_words.inc"
#define ATTENTION_HEADS 2
#include "kernels_attention.inc"
#include "kernels_tiles.inc"

#include "kernels_table.inc"

/* ---- ternary planes times one vector ----
 *
 * As in kernels_avx512_vnni.c no digit is extracted, but bytes are centred: with y = x - 128 the
 * identity is 256 (d_i - 1) = 3 y_i - y_{i+1}. The sign of a column's activation goes to y_0 once,
 * since -y_{i+1} = 3 (-y_i) mod 256 too, so that vpmaddubsw takes |a| and stays below 2 * 127 * 127. What
 * depends on activations alone is made once for all rows. */

/* Columns at a time: their blocks stay in the first cache, and in each 32-bit lane
 * 256 * 40 * 127 * (columns / 8) < 2^31. */
enum { PLANE_COLUMNS = 64 * 64 };

/* 64 columns. y_0 with its sign is (x ^ flip) + more: x - 128, or 127 - x + 1 where a is negative. Of a byte 0 that would
 * be 128; it saturates to what a byte 1 gives, which stands for the same digits. */
typedef struct column_block {
    vi a[2], flip[2], more[2]; /* a: |activations| */
} column_block;

/* What one vector of activations means for n <= PLANE_COLUMNS columns. Blocks whose vectors' products fit a 16-bit lane
 * together, 256 * -128 = -2^15, come first; a block that is not full comes last. */
typedef struct columns {
    column_block blocks[PLANE_COLUMNS / 64];
    uint16_t at[PLANE_COLUMNS / 64]; /* first column */
    int n_joint, n_full, rest;       /* blocks; columns of the last block where it is not full */
} columns;

INLINE column_block block_of(const int8_t *a)
{
    column_block b;
    for (int i = 0; i < 2; i++) {
        const vi v = vi_load(a + 32 * i), negative = _mm256_cmpgt_epi8(vi_zero(), v);
        b.a[i] = _mm256_abs_epi8(v);
        b.flip[i] = packed(negative);
        b.more[i] = _mm256_abs_epi8(negative);
    }
    return b;
}

INLINE int is_joint(const column_block *b)
{
    const vi one = _mm256_set1_epi8(1);
    const vi sum =
        _mm256_add_epi16(_mm256_maddubs_epi16(b->a[0], one), _mm256_maddubs_epi16(b->a[1], one));
    return !_mm256_movemask_epi8(_mm256_cmpgt_epi16(sum, _mm256_set1_epi16(256)));
}

/* a is zero beyond n columns, up to a whole block. */
static void make_columns(columns *c, const int8_t *a, int n)
{
    const int full = n / 64;
    int joint = 0, separate = full;
    for (int i = 0; i < full; i++) {
        const column_block b = block_of(a + 64 * i);
        const int place = is_joint(&b) ? joint++ : --separate;
        c->blocks[place] = b;
        c->at[place] = (uint16_t)(64 * i);
    }
    c->n_joint = joint;
    c->n_full = full;
    c->rest = n - 64 * full;
    if (c->rest) c->blocks[full] = block_of(a + 64 * full);
}

INLINE vi first_byte(const uint8_t *row, const column_block *b, int i)
{
    return _mm256_adds_epi8(_mm256_xor_si256(vi_load(row + 32 * i), b->flip[i]), b->more[i]);
}

/* s[i] += a y_i in 32-bit lanes for `n` blocks at once, from rows[0], rows[1]; joint: of all of them. Each y_i is made from
 * the last one, by two additions that on some processors take two cycles each; four vectors side by side leave no
 * gap. */
INLINE void block_step(vi *s, const uint8_t *const rows[2], const column_block *b, const int n,
                       const int joint)
{
    const vi ones = _mm256_set1_epi16(1);
    vi y[4], u[4];
#pragma GCC unroll 4
    for (int k = 0; k < 2 * n; k++) y[k] = first_byte(rows[k / 2], &b[k / 2], k % 2);
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) {
#pragma GCC unroll 4
        for (int k = 0; k < 2 * n; k++) u[k] = _mm256_maddubs_epi16(b[k / 2].a[k % 2], y[k]);
#pragma GCC unroll 4
        for (int k = 0; k < 2 * n; k++) y[k] = opaque(triple(y[k]));
#pragma GCC unroll 2
        for (int k = 0; k < 2 * n; k += 2) {
            if (joint)
                u[k] = vi_madd16(_mm256_add_epi16(u[k], u[k + 1]), ones);
            else
                u[k] = vi_add32(vi_madd16(u[k], ones), vi_madd16(u[k + 1], ones));
        }
        s[i] = vi_add32(s[i], n == 2 ? vi_add32(u[0], u[2]) : u[0]);
    }
}

static inline vi triple32(vi x) { return vi_add32(x, _mm256_slli_epi32(x, 1)); }

/* total[0..4] = the five rows of one group */
INLINE void group_rows(vi *total, const uint8_t *planes, size_t plane_stride, int n_planes,
                       const columns *c)
{
    vi s[6];
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) s[i] = vi_zero();
    for (int k = 0; k < n_planes; k++, planes += plane_stride) {
        if (k > 0) {
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++) s[i] = triple32(s[i]);
        }
        int b = 0;
        for (; b + 2 <= c->n_joint; b += 2) {
            const uint8_t *const rows[2] = { planes + c->at[b], planes + c->at[b + 1] };
            bc_fetch_ahead(rows[0]);
            bc_fetch_ahead(rows[1]);
            block_step(s, rows, &c->blocks[b], 2, 1);
        }
        for (; b < c->n_full; b++) {
            const uint8_t *const rows[2] = { planes + c->at[b], NULL };
            bc_fetch_ahead(rows[0]);
            block_step(s, rows, &c->blocks[b], 1, 0);
        }
        if (c->rest) {
            uint8_t last[64] = { 0 };
            const uint8_t *const rows[2] = { last, NULL };
            memcpy(last, planes + 64 * c->n_full, (size_t)c->rest);
            block_step(s, rows, &c->blocks[c->n_full], 1, 0);
        }
    }
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++)
        total[i] = _mm256_srai_epi32(_mm256_sub_epi32(triple32(s[i]), s[i + 1]), 8);
}

static void gemv_planes(int32_t *out, const uint8_t *planes, size_t plane_stride, int n_planes,
                        int n_groups, int cols, const int8_t *a, int32_t a_sum)
{
    (void)a_sum;
    for (int from = 0; from < cols; from += PLANE_COLUMNS) {
        columns c;
        make_columns(&c, a + from, cols - from < PLANE_COLUMNS ? cols - from : PLANE_COLUMNS);
        for (int g = 0; g < n_groups; g++) {
            int32_t *o = out + g * BC_GROUP_ROWS;
            vi t[5];
            group_rows(t, planes + from + (size_t)g * (size_t)cols, plane_stride, n_planes, &c);
            __m128i four = vi_sum4(t[0], t[1], t[2], t[3]);
            int32_t fifth = vi_sum(t[4]);
            if (from > 0) {
                four = _mm_add_epi32(four, _mm_loadu_si128((const __m128i *)(const void *)o));
                fifth += o[4];
            }
            _mm_storeu_si128((__m128i *)(void *)o, four);
            o[4] = fifth;
        }
    }
}

/* ---- integer panels ---- */

static inline uint8_t *panel_at(uint8_t *panel, int cols, int row_of_group, int quad)
{
    size_t quads = (size_t)(cols + 3) / 4;
    return panel + ((size_t)row_of_group * quads + (size_t)quad) * 64;
}

/* Bytes of 8 groups by up to 32 columns, as 8 vectors of [8 groups][4 columns]. */
static inline void load_block(vi *block, const uint8_t *first, int groups, int cols, int n)
{
    vf rows[8];
    for (int g = 0; g < 8; g++) {
        const uint8_t *row = first + (size_t)g * (size_t)cols;
        vi v = g >= groups ? vi_zero() : n == 32 ? vi_load(row) : vi_load_part(row, n);
        rows[g] = _mm256_castsi256_ps(v);
    }
    vf_transpose(rows);
    for (int q = 0; q < 8; q++) block[q] = _mm256_castps_si256(rows[q]);
}

INLINE void panel_n_planes(uint8_t *panel, const uint8_t *planes, size_t plane_stride,
                           const int n_planes, int n_groups, int cols)
{
    for (int first = 0; first < 16; first += 8) {
        for (int c = 0; c < cols; c += 32) {
            int n = cols - c < 32 ? cols - c : 32;
            vi block[BC_MAX_PLANES][8];
            for (int k = 0; k < n_planes; k++) {
                /* groups past the last are not touched, nor is an address made of them */
                size_t at = n_groups > first ? (size_t)first * (size_t)cols + (size_t)c : 0;
                load_block(block[k], planes + (size_t)k * plane_stride + at, n_groups - first, cols,
                           n);
            }
            for (int q = 0; 4 * q < n; q++) {
                vi y[BC_MAX_PLANES];
                for (int k = 0; k < n_planes; k++) y[k] = packed(block[k][q]);
                for (int i = 0; i < 5; i++) {
                    vi_store(panel_at(panel, cols, i, c / 4 + q) + 4 * first,
                             digits_of(y, n_planes));
                    for (int k = 0; k < n_planes; k++) y[k] = triple(y[k]);
                }
            }
        }
    }
}

static void panel_planes(uint8_t *panel, const uint8_t *planes, size_t plane_stride, int n_planes,
                         int n_groups, int cols)
{
    switch (n_planes) {
    case 1:
        panel_n_planes(panel, planes, plane_stride, 1, n_groups, cols);
        break;
    case 2:
        panel_n_planes(panel, planes, plane_stride, 2, n_groups, cols);
        break;
    case 3:
        panel_n_planes(panel, planes, plane_stride, 3, n_groups, cols);
        break;
    default:
        panel_n_planes(panel, planes, plane_stride, 4, n_groups, cols);
    }
}

static void panel_i8(uint8_t *panel, const int8_t *w, int rows, int cols)
{
    memset(panel, 0, BC_PANEL_BYTES(cols));
    for (int r = 0; r < rows; r++) {
        const int8_t *row = w + (size_t)r * (size_t)cols;
        for (int c = 0; c < cols; c += 4) {
            size_t n = cols - c < 4 ? (size_t)(cols - c) : 4;
            memcpy(panel_at(panel, cols, r % 5, c / 4) + 4 * (r / 5), row + c, n);
        }
    }
}

/* sum - zero * a_sum modulo 2^32 */
static inline int32_t centred(int32_t sum, int32_t zero, int32_t a_sum)
{
    return (int32_t)((uint32_t)sum - (uint32_t)zero * (uint32_t)a_sum);
}

/* ---- panel times tokens ---- */

#define INT_TOKENS 4

/* w * a over quads of columns, as int32: unsigned w <= 80, or signed w */
INLINE vi quad_product(vi w, vi w_abs, vi a, int is_signed)
{
    vi pairs = is_signed ? _mm256_maddubs_epi16(w_abs, _mm256_sign_epi8(a, w))
                         : _mm256_maddubs_epi16(w, a);
    return _mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* One row of each of 16 groups by T tokens; sums[t] gets 16 int32. */
INLINE void int_tile(int32_t sums[INT_TOKENS][5][16], int row_of_group, const uint8_t *p, int quads,
                     const int8_t *a, size_t a_stride, int is_signed, const int T)
{
    vi acc[INT_TOKENS][2];
    for (int t = 0; t < T; t++) acc[t][0] = acc[t][1] = vi_zero();
    for (int q = 0; q < quads; q++) {
        vi w0 = vi_load(p + (size_t)q * 64), w1 = vi_load(p + (size_t)q * 64 + 32);
        vi abs0 = _mm256_abs_epi8(w0), abs1 = _mm256_abs_epi8(w1);
#pragma GCC unroll 4
        for (int t = 0; t < T; t++) {
            int32_t four;
            memcpy(&four, a + (size_t)t * a_stride + (size_t)q * 4, 4);
            vi v = _mm256_set1_epi32(four);
            acc[t][0] = _mm256_add_epi32(acc[t][0], quad_product(w0, abs0, v, is_signed));
            acc[t][1] = _mm256_add_epi32(acc[t][1], quad_product(w1, abs1, v, is_signed));
        }
    }
    for (int t = 0; t < T; t++) {
        vi_store(sums[t][row_of_group], acc[t][0]);
        vi_store(sums[t][row_of_group] + 8, acc[t][1]);
    }
}

INLINE void int_gemm(int32_t *out, const uint8_t *panel, int cols, const int8_t *a, size_t a_stride,
                     const int32_t *a_sum, int tokens, int32_t zero, int is_signed)
{
    int quads = (cols + 3) / 4;
    for (int first = 0; first < tokens; first += INT_TOKENS) {
        int n = tokens - first < INT_TOKENS ? tokens - first : INT_TOKENS;
        const int8_t *v = a + (size_t)first * a_stride;
        int32_t sums[INT_TOKENS][5][16];
        for (int i = 0; i < 5; i++) {
            const uint8_t *p = panel + (size_t)i * (size_t)quads * 64;
            if (n == INT_TOKENS) {
                int_tile(sums, i, p, quads, v, a_stride, is_signed, INT_TOKENS);
            } else {
                for (int t = 0; t < n; t++) {
                    int_tile(sums + t, i, p, quads, v + (size_t)t * a_stride, a_stride, is_signed,
                             1);
                }
            }
        }
        for (int t = 0; t < n; t++) {
            int32_t *o = out + (size_t)(first + t) * BC_PANEL_ROWS;
            for (int g = 0; g < 16; g++) {
                for (int i = 0; i < 5; i++) {
                    o[5 * g + i] = centred(sums[t][i][g], zero, a_sum[first + t]);
                }
            }
        }
    }
}

static void gemm_planes(int32_t *out, const uint8_t *panel, int n_planes, int cols, const int8_t *a,
                        size_t a_stride, const int32_t *a_sum, int tokens)
{
    int_gemm(out, panel, cols, a, a_stride, a_sum, tokens, BC_Q_MAX[n_planes], 0);
}

static void gemm_i8(int32_t *out, const uint8_t *panel, int cols, const int8_t *a, size_t a_stride,
                    const int32_t *a_sum, int tokens)
{
    int_gemm(out, panel, cols, a, a_stride, a_sum, tokens, 0, 1);
}

/* ---- int8 matrices ---- */

static void gemv_i8(int32_t *out, const int8_t *w, int rows, int cols, const int8_t *a,
                    int32_t a_sum)
{
    (void)a_sum;
    for (int r = 0; r < rows; r++) {
        const int8_t *row = w + (size_t)r * (size_t)cols;
        vi s0 = vi_zero(), s1 = s0;
        int c = 0;
        for (; c + 64 <= cols; c += 64) {
            vi w0 = vi_load(row + c), w1 = vi_load(row + c + 32);
            bc_fetch_ahead(row + c);
            s0 = _mm256_add_epi32(s0, quad_product(w0, _mm256_abs_epi8(w0), vi_load(a + c), 1));
            s1 =
                _mm256_add_epi32(s1, quad_product(w1, _mm256_abs_epi8(w1), vi_load(a + c + 32), 1));
        }
        for (; c < cols; c += 32) {
            vi w0 = vi_load_part(row + c, cols - c < 32 ? cols - c : 32);
            s0 = _mm256_add_epi32(s0, quad_product(w0, _mm256_abs_epi8(w0), vi_load(a + c), 1));
        }
        out[r] = vi_sum(_mm256_add_epi32(s0, s1));
    }
}

/* ---- a few tokens ---- */

INLINE vi dot4(vi acc, vi w, vi a) { return vi_add32(acc, quad_product(w, w, a, 0)); }

INLINE vi signed_dot4(vi acc, vi w, vi a)
{
    return vi_add32(acc, quad_product(w, _mm256_abs_epi8(w), a, 1));
}

#define FEW_BLOCK 2 /* tokens: with five rows as many accumulators as there are registers for */
#define FEW_BIAS 0
#define FEW_ROWS "kernels_few_compared.inc"
#include "kernels_few.inc"

/* ---- attention over int8 ---- */

#define I8_HEADS 2
#define ROUND_I16 vec_round_i16
#define I8_PRODUCTS "kernels_i8_words.inc"
#include "kernels_attention_i8.inc"

float bc_round_i16_avx2(int16_t *code, const float *x, const float *scale, int n)
{
    return vec_round_i16(code, x, scale, n);
}

int32_t bc_quantize_limbs_avx2(uint8_t *codes, float *step, const float *dy, const float *scales,
                               int rows, float fine_above, int dither)
{
    return quantize_limbs(codes, step, dy, scales, rows, fine_above, dither);
}

void bc_kernels_init_avx2(bc_kernels *k)
{
    k->isa = "avx2";
    set_vector_entries(k);
    k->gemv_planes = gemv_planes;
    k->panel_planes = panel_planes;
    k->gemm_planes = gemm_planes;
    k->gemv_i8 = gemv_i8;
    k->panel_i8 = panel_i8;
    k->gemm_i8 = gemm_i8;
    k->few_planes = few_planes;
    k->few_i8 = few_i8;
    k->attn_scores[BC_KV_I8] = scores_i8;
    k->attn_mix[BC_KV_I8] = mix_i8;
}
