/* kernels_avx512_vnni.c - integer kernels by vpdpbusd: four unsigned times four signed bytes added
 * to each 32-bit lane, modulo 2^32. Panels as in kernels_avx512.c. */
#include <string.h>

#include "bitconverter.h"
#include "fetch.h"
#include "kernels.h"
#include "planes.h"
#include "simd_vnni512.inc"

static inline vi triple32(vi x) { return _mm512_add_epi32(x, _mm512_slli_epi32(x, 1)); }

/* out[0..3]: the sums of four vectors' lanes, less `zero` */
static inline void sum4(int32_t *out, vi a, vi b, vi c, vi d, int32_t zero)
{
    _mm_storeu_si128((__m128i *)out, _mm_sub_epi32(vi_sum4(a, b, c, d), _mm_set1_epi32(zero)));
}

/* ---- ternary planes times one vector ----
 *
 * No digit is extracted. The bytes x_0 = x, x_{i+1} = 3 x_i mod 256 give 256 d_i = 3 x_i - x_{i+1},
 * so with S_i = sum of a * x_i the digits' products are sum of a * d_i = (3 S_i - S_{i+1}) / 256.
 * That is linear, so planes are added up first: T_i = 3 T_i + S_i of the next plane. The division
 * is made in each 32-bit lane, where 256 * 80 * 127 * (columns / 16) < 2^31 must hold for the true
 * value; the T_i may wrap. */
#define PLANE_COLUMNS (64 * 128) /* columns per division: two thirds of what fits */

INLINE void plane_step(vi *s, vi x, vi a)
{
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
        s[i] = dot4(s[i], x, a);
        x = triple(x);
    }
    s[5] = dot4(s[5], x, a);
}

/* total[0..4] += the five rows of one group over n <= PLANE_COLUMNS columns, as lanes to be added
 * up */
INLINE void group_part(vi *total, const uint8_t *planes, size_t plane_stride, const int n_planes,
                       int n, const int8_t *a)
{
    vi s[6];
#pragma GCC unroll 6
    for (int i = 0; i < 6; i++) s[i] = _mm512_setzero_si512();
#pragma GCC unroll 4
    for (int k = 0; k < n_planes; k++, planes += plane_stride) {
        int c = 0;
        if (k > 0) {
#pragma GCC unroll 6
            for (int i = 0; i < 6; i++) s[i] = triple32(s[i]);
        }
        for (; c + 64 <= n; c += 64) {
            bc_fetch_ahead(planes + c);
            plane_step(s, vi_load(planes + c), vi_load(a + c));
        }
        if (c < n) plane_step(s, vi_load_part(planes + c, n - c), vi_load(a + c));
    }
#pragma GCC unroll 5
    for (int i = 0; i < 5; i++) {
        vi d256 = _mm512_sub_epi32(triple32(s[i]), s[i + 1]);
        total[i] = _mm512_add_epi32(total[i], _mm512_srai_epi32(d256, 8));
    }
}

INLINE void gemv_n_planes(int32_t *out, const uint8_t *planes, size_t plane_stride,
                          const int n_planes, int n_groups, int cols, const int8_t *a,
                          int32_t a_sum)
{
    int32_t zero = (int32_t)((uint32_t)BC_Q_MAX[n_planes] * (uint32_t)a_sum);
    for (int first = 0; first < n_groups; first += 4) {
        int n = n_groups - first < 4 ? n_groups - first : 4;
        int32_t *o = out + (size_t)first * 5, fifths[4];
        vi fifth[4]; /* the fifth rows of four groups are added up together */
        for (int g = 0; g < 4; g++) fifth[g] = _mm512_setzero_si512();
        for (int g = 0; g < n; g++) {
            const uint8_t *group = planes + (size_t)(first + g) * (size_t)cols;
            vi total[5];
            for (int i = 0; i < 5; i++) total[i] = _mm512_setzero_si512();
            for (int c = 0; c < cols; c += PLANE_COLUMNS) {
                int part = cols - c < PLANE_COLUMNS ? cols - c : PLANE_COLUMNS;
                group_part(total, group + c, plane_stride, n_planes, part, a + c);
            }
            sum4(o + 5 * g, total[0], total[1], total[2], total[3], zero);
            fifth[g] = total[4];
        }
        sum4(fifths, fifth[0], fifth[1], fifth[2], fifth[3], zero);
        for (int g = 0; g < n; g++) o[5 * g + 4] = fifths[g];
    }
}

static void gemv_planes(int32_t *out, const uint8_t *planes, size_t plane_stride, int n_planes,
                        int n_groups, int cols, const int8_t *a, int32_t a_sum)
{
    switch (n_planes) {
    case 1:
        gemv_n_planes(out, planes, plane_stride, 1, n_groups, cols, a, a_sum);
        break;
    case 2:
        gemv_n_planes(out, planes, plane_stride, 2, n_groups, cols, a, a_sum);
        break;
    case 3:
        gemv_n_planes(out, planes, plane_stride, 3, n_groups, cols, a, a_sum);
        break;
    default:
        gemv_n_planes(out, planes, plane_stride, 4, n_groups, cols, a, a_sum);
    }
}

/* ---- int8 matrices ---- */

/* One row's products, as lanes to be added up. */
INLINE vi row_dot(const int8_t *row, int cols, const int8_t *a)
{
    vi s0 = _mm512_setzero_si512(), s1 = s0;
    int c = 0;
    for (; c + 128 <= cols; c += 128) {
        bc_fetch_ahead(row + c);
        bc_fetch_ahead(row + c + 64);
        s0 = dot4(s0, biased(vi_load(row + c)), vi_load(a + c));
        s1 = dot4(s1, biased(vi_load(row + c + 64)), vi_load(a + c + 64));
    }
    for (; c < cols; c += 64) {
        vi w = vi_load_part(row + c, cols - c < 64 ? cols - c : 64);
        s0 = dot4(s0, biased(w), vi_load(a + c));
    }
    return _mm512_add_epi32(s0, s1);
}

static void gemv_i8(int32_t *out, const int8_t *w, int rows, int cols, const int8_t *a,
                    int32_t a_sum)
{
    int32_t zero = (int32_t)(128u * (uint32_t)a_sum);
    for (int r = 0; r < rows; r += 4) {
        int n = rows - r < 4 ? rows - r : 4;
        int32_t sums[4];
        vi s[4];
        for (int i = 0; i < 4; i++) {
            const int8_t *row = w + (size_t)(i < n ? r + i : r) * (size_t)cols;
            s[i] = row_dot(row, cols, a);
        }
        sum4(sums, s[0], s[1], s[2], s[3], zero);
        memcpy(out + r, sums, (size_t)n * sizeof *out);
    }
}

/* ---- panel times tokens ---- */

#define INT_TOKENS 5
#define INT_QUADS 1024 /* quads of columns per pass: 320 kB of the panel, in the L2 cache */

/* Lane g of the vector of row i is row 5 g + i of the panel: for output vector v (rows 16 v ..
 * 16 v + 15), which lanes come from vector i, and from where. */
typedef struct row_order {
    vi from[5];
    __mmask16 lanes[5][5]; /* [v][i] */
} row_order;

static inline row_order make_order(void)
{
    row_order o;
    memset(o.lanes, 0, sizeof o.lanes);
    for (int v = 0; v < 5; v++) {
        int32_t from[16];
        for (int l = 0; l < 16; l++) {
            from[l] = (16 * v + l) / 5;
            o.lanes[v][(16 * v + l) % 5] |= (__mmask16)(1u << l);
        }
        o.from[v] = vi_load(from);
    }
    return o;
}

INLINE void int_tile(int32_t *out, const uint8_t *panel, int quads, const int8_t *a,
                     size_t a_stride, const int32_t *a_sum, int32_t zero, int is_signed,
                     int first_pass, const row_order *order, const int T)
{
    vi acc[INT_TOKENS][5];
#pragma GCC unroll 5
    for (int t = 0; t < T; t++) {
#pragma GCC unroll 5
        for (int i = 0; i < 5; i++) acc[t][i] = _mm512_setzero_si512();
    }
    for (int q = 0; q < quads; q++, panel += 5 * 64, a += 4) {
        vi w[5];
#pragma GCC unroll 5
        for (int i = 0; i < 5; i++) {
            w[i] = vi_load(panel + i * 64);
            if (is_signed) w[i] = biased(w[i]);
        }
#pragma GCC unroll 5
        for (int t = 0; t < T; t++) {
            int32_t four;
            memcpy(&four, a + (size_t)t * a_stride, 4);
            vi v = _mm512_set1_epi32(four);
#pragma GCC unroll 5
            for (int i = 0; i < 5; i++) acc[t][i] = dot4(acc[t][i], w[i], v);
        }
    }
#pragma GCC unroll 5
    for (int t = 0; t < T; t++) {
        int32_t *to = out + t * BC_PANEL_ROWS;
        vi offset = _mm512_set1_epi32((int32_t)((uint32_t)zero * (uint32_t)a_sum[t]));
        for (int v = 0; v < 5; v++) {
            vi rows = _mm512_setzero_si512();
#pragma GCC unroll 5
            for (int i = 0; i < 5; i++) {
                rows = _mm512_mask_permutexvar_epi32(rows, order->lanes[v][i], order->from[v],
                                                     acc[t][i]);
            }
            /* the zero point's share is taken off once, on the first pass */
            vi before = first_pass ? _mm512_sub_epi32(_mm512_setzero_si512(), offset)
                                   : vi_load(to + 16 * v);
            _mm512_storeu_si512(to + 16 * v, _mm512_add_epi32(before, rows));
        }
    }
}

INLINE void int_gemm(int32_t *out, const uint8_t *panel, int cols, const int8_t *a, size_t a_stride,
                     const int32_t *a_sum, int tokens, int32_t zero, const int is_signed)
{
    const row_order order = make_order();
    int quads = (cols + 3) / 4;
    for (int first = 0; first < quads; first += INT_QUADS) {
        int n = quads - first < INT_QUADS ? quads - first : INT_QUADS;
        const uint8_t *p = panel + (size_t)first * 5 * 64;
        for (int t = 0; t < tokens; t += INT_TOKENS) {
            int32_t *to = out + (size_t)t * BC_PANEL_ROWS;
            const int8_t *v = a + (size_t)t * a_stride + (size_t)first * 4;
            switch (tokens - t) {
            case 1:
                int_tile(to, p, n, v, a_stride, a_sum + t, zero, is_signed, first == 0, &order, 1);
                break;
            case 2:
                int_tile(to, p, n, v, a_stride, a_sum + t, zero, is_signed, first == 0, &order, 2);
                break;
            case 3:
                int_tile(to, p, n, v, a_stride, a_sum + t, zero, is_signed, first == 0, &order, 3);
                break;
            case 4:
                int_tile(to, p, n, v, a_stride, a_sum + t, zero, is_signed, first == 0, &order, 4);
                break;
            default:
                int_tile(to, p, n, v, a_stride, a_sum + t, zero, is_signed, first == 0, &order, 5);
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
    int_gemm(out, panel, cols, a, a_stride, a_sum, tokens, 128, 1);
}

/* ---- a few tokens ---- */

#define FEW_BLOCK 4
#define FEW_BIAS 128
#define FEW_ROWS "kernels_few_compared.inc"
#include "kernels_few.inc"

/* ---- attention over int8 ---- */

#define I8_HEADS 4
#define ROUND_I16 bc_round_i16_avx512
#define I8_PRODUCTS "kernels_i8_limbs.inc"
#include "kernels_attention_i8.inc"

/* ---- gradients ---- */

/* y[0..n) = (add ? y : 0) + step (sums - offset) */
INLINE void scaled_out(float *y, vi sums, int32_t offset, float step, int n, int add)
{
    const __mmask16 lanes = (__mmask16)((1u << n) - 1);
    const __m512 x = _mm512_mul_ps(_mm512_set1_ps(step),
                                   _mm512_cvtepi32_ps(_mm512_sub_epi32(sums, vi_set32(offset))));
    if (n == 16) {
        _mm512_storeu_ps(y, add ? _mm512_add_ps(_mm512_loadu_ps(y), x) : x);
        return;
    }
    _mm512_mask_storeu_ps(y, lanes, add ? _mm512_add_ps(_mm512_maskz_loadu_ps(lanes, y), x) : x);
}

#define LIMB_TOKENS 12
#include "kernels_back_limbs.inc"

/* After bc_kernels_init_avx512, whose panels and float entries stay. */
void bc_kernels_init_avx512_vnni(bc_kernels *k)
{
    k->isa = "avx512-vnni";
    k->gemv_planes = gemv_planes;
    k->gemm_planes = gemm_planes;
    k->gemv_i8 = gemv_i8;
    k->gemm_i8 = gemm_i8;
    k->few_planes = few_planes;
    k->few_i8 = few_i8;
    k->attn_scores[BC_KV_I8] = scores_i8;
    k->attn_mix[BC_KV_I8] = mix_i8;
    k->quantize_i16 = bc_quantize_limbs_avx512;
    k->columns_planes = columns_planes;
    k->columns_i8 = columns_i8;
    k->gemm_columns = gemm_columns;
}
