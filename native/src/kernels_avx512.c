/* kernels_avx512.c - the kernels for AVX-512 F, BW, VL.
 *
 * Integers as in kernels_avx2.c: vpmaddubsw with small unsigned bytes, exact. Panels are
 * [cols/4][5 rows of a group][16 groups][4 columns] bytes: a vector is one row of every group. */
#include "simd_avx512.inc"

#include "bitconverter.h"
#include "fetch.h"
#include "kernels.h"
#include "planes.h"

#define DENSE_TOKENS 12
#define DOT_TOKENS 4
#include "kernels_float.inc"

#include "kernels_dense.inc"
#include "kernels_gradient.inc"
#define WORD_TOKENS 12
#include "kernels_back_words.inc"
#define ATTENTION_HEADS 4
#include "kernels_attention.inc"
#include "kernels_tiles.inc"

#include "kernels_table.inc"

/* ---- ternary planes times one vector ---- */

/* sum[i] += a * digit i of 64 packed bytes, in 16-bit lanes */
INLINE void digits_step(vi *sum, vi x, vi a)
{
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
        sum[i] = _mm512_add_epi16(sum[i], _mm512_maddubs_epi16(digit_of(x), a));
        x = triple(x);
    }
}

/* total[i] = 3 total[i] + sum over the row of a * digit i */
static void plane_row(vi *total, const uint8_t *row, int cols, const int8_t *a)
{
    const vi ones = _mm512_set1_epi16(1);
    for (int i = 0; i < 5; i++) {
        total[i] = _mm512_add_epi32(total[i], _mm512_slli_epi32(total[i], 1));
    }
    for (int c = 0; c < cols;) {
        /* a 16-bit lane grows by at most 2 * 2 * 127 a step: 64 steps fit */
        int end = cols - c < 64 * 64 ? cols : c + 64 * 64;
        vi sum[5];
        for (int i = 0; i < 5; i++) sum[i] = vi_zero();
        for (; c + 64 <= end; c += 64) {
            bc_fetch_ahead(row + c);
            digits_step(sum, vi_load(row + c), vi_load(a + c));
        }
        if (c < end) {
            digits_step(sum, vi_load_part(row + c, end - c), vi_load(a + c));
            c = end;
        }
        for (int i = 0; i < 5; i++) {
            total[i] = _mm512_add_epi32(total[i], _mm512_madd_epi16(sum[i], ones));
        }
    }
}

/* sum - zero * a_sum modulo 2^32 */
static inline int32_t centred(int32_t sum, int32_t zero, int32_t a_sum)
{
    return (int32_t)((uint32_t)sum - (uint32_t)zero * (uint32_t)a_sum);
}

static void gemv_planes(int32_t *out, const uint8_t *planes, size_t plane_stride, int n_planes,
                        int n_groups, int cols, const int8_t *a, int32_t a_sum)
{
    for (int g = 0; g < n_groups; g++) {
        vi total[5];
        for (int i = 0; i < 5; i++) total[i] = vi_zero();
        for (int k = 0; k < n_planes; k++) {
            plane_row(total, planes + (size_t)k * plane_stride + (size_t)g * (size_t)cols, cols, a);
        }
        for (int i = 0; i < 5; i++) {
            out[5 * g + i] = centred(vi_sum(total[i]), BC_Q_MAX[n_planes], a_sum);
        }
    }
}

/* ---- integer panels ---- */

static inline uint8_t *panel_at(uint8_t *panel, int row_of_group, int quad)
{
    return panel + ((size_t)quad * 5 + (size_t)row_of_group) * 64;
}

/* Up to 16 rows, `stride` apart, by up to 64 columns, as 16 vectors of [16 rows][4 columns]. */
INLINE void load_block(vi *block, const uint8_t *first, int rows, size_t stride, int n)
{
    vf row[16];
    for (int g = 0; g < 16; g++) {
        vi v = vi_zero();
        if (g < rows) v = vi_load_part(first + (size_t)g * stride, n);
        row[g] = _mm512_castsi512_ps(v);
    }
    vf_transpose(row);
    for (int q = 0; q < 16; q++) block[q] = _mm512_castps_si512(row[q]);
}

INLINE void panel_n_planes(uint8_t *panel, const uint8_t *planes, size_t plane_stride,
                           const int n_planes, int n_groups, int cols)
{
    for (int c = 0; c < cols; c += 64) {
        int n = cols - c < 64 ? cols - c : 64;
        vi block[BC_MAX_PLANES][16];
        for (int k = 0; k < n_planes; k++) {
            load_block(block[k], planes + (size_t)k * plane_stride + (size_t)c, n_groups,
                       (size_t)cols, n);
        }
        for (int q = 0; 4 * q < n; q++) {
            vi x[BC_MAX_PLANES];
            for (int k = 0; k < n_planes; k++) x[k] = block[k][q];
            for (int i = 0; i < 5; i++) {
                vi_store(panel_at(panel, i, c / 4 + q), digits_of(x, n_planes));
                for (int k = 0; k < n_planes; k++) x[k] = triple(x[k]);
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
    for (int i = 0; i < 5; i++) {
        const int of_group = (rows - i + 4) / 5; /* rows i, i + 5, ... */
        const uint8_t *first = (const uint8_t *)w + (of_group > 0 ? (size_t)i * (size_t)cols : 0);
        for (int c = 0; c < cols; c += 64) {
            int n = cols - c < 64 ? cols - c : 64;
            vi block[16];
            load_block(block, first + c, of_group, 5 * (size_t)cols, n);
            for (int q = 0; 4 * q < n; q++)
                _mm512_storeu_si512(panel_at(panel, i, c / 4 + q), block[q]);
        }
    }
}

/* ---- panel times tokens ---- */

#define INT_TOKENS 4

/* w * a over quads of columns, as int32: unsigned w <= 80, or signed w with its |w| and signs */
INLINE vi quad_product(vi w, __mmask64 negative, vi a, int is_signed)
{
    if (is_signed) a = _mm512_mask_sub_epi8(a, negative, vi_zero(), a);
    return _mm512_madd_epi16(_mm512_maddubs_epi16(w, a), _mm512_set1_epi16(1));
}

INLINE void int_tile(int32_t sums[INT_TOKENS][5][16], const uint8_t *p, int quads, const int8_t *a,
                     size_t a_stride, int is_signed, const int T)
{
    vi acc[INT_TOKENS][5];
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
        for (int i = 0; i < 5; i++) acc[t][i] = vi_zero();
    }
    for (int q = 0; q < quads; q++, p += 5 * 64) {
        vi v[INT_TOKENS];
#pragma GCC unroll 4
        for (int t = 0; t < T; t++) {
            int32_t four;
            memcpy(&four, a + (size_t)t * a_stride + (size_t)q * 4, 4);
            v[t] = _mm512_set1_epi32(four);
        }
#pragma GCC unroll 5
        for (int i = 0; i < 5; i++) {
            vi w = vi_load(p + i * 64);
            __mmask64 negative = is_signed ? _mm512_movepi8_mask(w) : 0;
            if (is_signed) w = _mm512_abs_epi8(w);
#pragma GCC unroll 4
            for (int t = 0; t < T; t++) {
                vi product = quad_product(w, negative, v[t], is_signed);
                acc[t][i] = _mm512_add_epi32(acc[t][i], product);
            }
        }
    }
#pragma GCC unroll 4
    for (int t = 0; t < T; t++) {
        for (int i = 0; i < 5; i++) _mm512_storeu_si512(sums[t][i], acc[t][i]);
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
        if (n == INT_TOKENS) {
            int_tile(sums, panel, quads, v, a_stride, is_signed, INT_TOKENS);
        } else {
            for (int t = 0; t < n; t++) {
                int_tile(sums + t, panel, quads, v + (size_t)t * a_stride, a_stride, is_signed, 1);
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
        vi sum = vi_zero();
        for (int c = 0; c < cols; c += 64) {
            vi v = vi_load_part(row + c, cols - c < 64 ? cols - c : 64);
            __mmask64 negative = _mm512_movepi8_mask(v);
            vi product = quad_product(_mm512_abs_epi8(v), negative, vi_load(a + c), 1);
            sum = _mm512_add_epi32(sum, product);
        }
        out[r] = vi_sum(sum);
    }
}

/* ---- a few tokens ---- */

INLINE vi dot4(vi acc, vi w, vi a) { return vi_add32(acc, quad_product(w, 0, a, 0)); }

INLINE vi signed_dot4(vi acc, vi w, vi a)
{
    return vi_add32(acc, quad_product(_mm512_abs_epi8(w), _mm512_movepi8_mask(w), a, 1));
}

#define FEW_BLOCK 4
#define FEW_BIAS 0
#define FEW_ROWS "kernels_few_compared.inc"
#include "kernels_few.inc"

float bc_round_i16_avx512(int16_t *code, const float *x, const float *scale, int n)
{
    return vec_round_i16(code, x, scale, n);
}

int32_t bc_quantize_limbs_avx512(uint8_t *codes, float *step, const float *dy, const float *scales,
                                 int rows, float fine_above, int dither)
{
    return quantize_limbs(codes, step, dy, scales, rows, fine_above, dither);
}

void bc_kernels_init_avx512(bc_kernels *k)
{
    k->isa = "avx512";
    set_vector_entries(k);
    k->gemv_planes = gemv_planes;
    k->panel_planes = panel_planes;
    k->gemm_planes = gemm_planes;
    k->gemv_i8 = gemv_i8;
    k->panel_i8 = panel_i8;
    k->gemm_i8 = gemm_i8;
    k->few_planes = few_planes;
    k->few_i8 = few_i8;
}
