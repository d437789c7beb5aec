/* kernels.h - the table of hot loops.
 *
 * kernels_scalar.c fills every entry and is the definition of each of them;
 * the other files replace the entries that they can do faster. Integer entries
 * agree bit for bit between ISAs; float entries within the bound stated in
 * tests/checkasm.c. A kernel never reads or writes outside the lengths given,
 * except that int8 activation rows are zero-padded by the caller up to the next
 * multiple of BC_ACT_PAD columns and may be read that far. No alignment is
 * promised for weights; work buffers (activations, panels) are 64-byte aligned. */
#ifndef BC_KERNELS_H
#define BC_KERNELS_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define BC_ACT_PAD 64      /* activations: int8 rows are padded to this many columns */
#define BC_PANEL_ROWS 80   /* rows of an integer panel: 16 groups of 5 */
#define BC_DENSE_ROWS 32   /* rows of a float panel */
#define BC_TILE_ROWS 16    /* rows of a calibration tile, one SIMD lane each */
#define BC_BACK_COLS 32    /* columns of a panel of columns */
#define BC_BACK_ROWS 240   /* its rows at most, whole groups: 32639 * 127 * 240 < 2^31 */
#define BC_BACK_MAX 32639  /* of integers of 16 bits: 256 * 127 + 127, two limbs of 8 bits */
#define BC_BACK_COARSE 127 /* of those that are 256 times a number: one limb */
#define BC_MAX_PLANES 4
#define BC_PEAK 64    /* logits that one peak is of */
#define BC_KV_TYPES 4 /* of enum bc_kv_type */
#define BC_KV_BLOCK                                                                                \
    256 /* positions of int8 that are attended to at once: 32639 * 127 * 256 < 2^31 */
#define BC_MAX_HEAD_DIM 256 /* likewise */

/* Bytes of an integer panel for `cols` columns, floats of a dense panel. */
#define BC_PANEL_BYTES(cols) ((size_t)(((cols) + 3) / 4) * 4 * BC_PANEL_ROWS)
#define BC_FEW_BYTES(cols) (((size_t)(cols) + BC_ACT_PAD - 1) / BC_ACT_PAD * BC_ACT_PAD * 5)
#define BC_DENSE_PANEL_FLOATS(cols) ((size_t)(cols) * BC_DENSE_ROWS)
/* Bytes of a panel of columns, of a token's integers: not a power of two, which would put those of all tokens into
 * the same few lines of the cache. */
#define BC_BACK_PANEL_BYTES ((size_t)256 * BC_BACK_COLS * 2)
#define BC_BACK_CODES 576
#define BC_BACK_LIMB                                                                               \
    256 /* where the low limbs begin, on ISAs that have two; and at the end, whether they are used */

typedef struct bc_kernels {
    const char *isa;

    /* -- ternary planes (docs/FORMAT.md): byte (g, c) of a plane holds the digits
     *    d_0..d_4 in {0,1,2} of rows 5g..5g+4 at column c; q = sum_k 3^(N-1-k) (d_k - 1) -- */

    /* out[5g+i] = sum_c a[c] * q[5g+i][c] for n_groups groups: exact. a_sum = sum_c a[c].
     * planes: first byte of the first group of plane 0; plane k starts k*plane_stride later;
     * groups are `cols` bytes apart. */
    void (*gemv_planes)(int32_t *out, const uint8_t *planes, size_t plane_stride, int n_planes,
                        int n_groups, int cols, const int8_t *a, int32_t a_sum);

    /* Decodes up to 16 groups into a panel for gemm_planes (layout private to the ISA; missing
     * groups and columns read as anything that contributes nothing or is not used). */
    void (*panel_planes)(uint8_t *panel, const uint8_t *planes, size_t plane_stride, int n_planes,
                         int n_groups, int cols);

    /* out[t*BC_PANEL_ROWS + 5g+i] = sum_c a[t*a_stride + c] * q[5g+i][c], exact. a_sum[t]. */
    void (*gemm_planes)(int32_t *out, const uint8_t *panel, int n_planes, int cols, const int8_t *a,
                        size_t a_stride, const int32_t *a_sum, int tokens);

    /* out[t*out_stride + 5g+i], as gemv_planes, for a few tokens: rows are read once, in the order in
     * which they lie. work: BC_FEW_BYTES(cols), 64-byte aligned. */
    void (*few_planes)(int32_t *out, size_t out_stride, const uint8_t *planes, size_t plane_stride,
                       int n_planes, int n_groups, int cols, const int8_t *a, size_t a_stride,
                       const int32_t *a_sum, int tokens, uint8_t *work);

    /* -- int8 matrices (embedding, head): codes in -127..127, rows `cols` bytes apart -- */
    void (*gemv_i8)(int32_t *out, const int8_t *w, int rows, int cols, const int8_t *a,
                    int32_t a_sum);
    void (*panel_i8)(uint8_t *panel, const int8_t *w, int rows, int cols); /* rows <= 80 */
    void (*gemm_i8)(int32_t *out, const uint8_t *panel, int cols, const int8_t *a, size_t a_stride,
                    const int32_t *a_sum, int tokens);
    /* out[t*out_stride + r], as gemv_i8, for a few tokens */
    void (*few_i8)(int32_t *out, size_t out_stride, const int8_t *w, int rows, int cols,
                   const int8_t *a, size_t a_stride, const int32_t *a_sum, int tokens);

    /* -- dense matrices; dtype is enum bc_dtype, rows `cols` elements apart -- */
    void (*to_f32)(float *out, const void *x, int dtype, size_t n);
    void (*gemv_dense)(float *out, const void *w, int dtype, int rows, int cols, const float *x);
    void (*panel_dense)(float *panel, const void *w, int dtype, int rows, int cols); /* <= 32 */
    /* out[t*out_stride + r] = (add ? out[t*out_stride + r] : 0) + sum_c x[t*x_stride + c] * panel[c*panel_stride + r], r
     * < BC_DENSE_ROWS, the same bits whatever other tokens there are; panel_dense makes panels of stride BC_DENSE_ROWS:
     * panel[c*BC_DENSE_ROWS + r] = w[r][c] */
    void (*gemm_dense)(float *out, size_t out_stride, const float *panel, size_t panel_stride,
                       int cols, const float *x, size_t x_stride, int tokens, int add);
    /* out[t*out_stride + r] = sum_c w[r][c] x[t*x_stride + c], w f32 [rows, cols], few rows: the same bits whatever other
     * tokens there are */
    void (*dots_dense)(float *out, size_t out_stride, const float *w, int rows, int cols,
                       const float *x, size_t x_stride, int tokens);

    /* -- what comes of integer products: y[i] = dots[i] * (scales[i] * factor) -- */
    void (*scale_dots)(float *y, const int32_t *dots, const float *scales, float factor, int n);

    /* -- activations -- */
    /* a[c] = round(x[c] * 127 / max|x|), to nearest even, a[n..padded) = 0; scale = max|x| / 127
     * (0 when x is all zero; a NaN or infinity in x gives scale NaN and a = 0). Returns sum_c a[c]. */
    int32_t (*quantize_i8)(int8_t *a, float *scale, const float *x, int n);
    /* In-place fast Walsh-Hadamard transform of each block of `block` (a power of two) floats,
     * times 1/sqrt(block). The order of additions is the scalar one: equal bits on every ISA. */
    void (*hadamard)(float *x, int n, int block);

    /* -- the small pieces of a layer -- */
    void (*rmsnorm)(float *y, const float *x, const float *weight, int n, float eps);
    /* rotate-half RoPE of one head: cos, sin f32 [head_dim/2] */
    void (*rope)(float *x, const float *cos, const float *sin, int head_dim);
    void (*swiglu)(float *y, const float *gate, const float *up,
                   int n);                        /* silu(gate) * up; y may be gate */
    void (*add)(float *x, const float *y, int n); /* x += y */
    void (*softmax)(float *x, int n);
    void (*add_scaled)(float *y, const float *x, float factor, int n); /* y += factor * x */
    void (*f32_to_f16)(uint16_t *y, const float *x, int n);            /* round to nearest even */

    /* -- attention of the `heads` query heads that share one KV head; positions are head_dim
     *    elements apart; [] is indexed by enum bc_kv_type; `scale` f32 [n] is per position for int8
     *    and int4, else ignored. int8 is multiplied in integers, so that the bits are equal on every
     *    ISA: each query, and the weights p * scale of each head, are rounded to 16 bits
     *    (bc_round_i16_avx2); n <= BC_KV_BLOCK, head_dim <= BC_MAX_HEAD_DIM, p and scale are not
     *    negative. An int4 row is head_dim = 32 m elements: byte 16 g + i holds element
     *    32 g + i in its low and 32 g + 16 + i in its high four bits, each plus 8. -- */
    /* out[h*out_stride + j] = (q_h . k_j) * factor, j < n; q f32 [heads, head_dim] */
    void (*attn_scores[BC_KV_TYPES])(float *out, size_t out_stride, const float *q, int heads,
                                     const void *k, const float *scale, int n, int head_dim,
                                     float factor);
    /* out[h*head_dim + d] = sum_j p[h*p_stride + j] * v_j[d] */
    void (*attn_mix[BC_KV_TYPES])(float *out, const float *p, size_t p_stride, int heads,
                                  const void *v, const float *scale, int n, int head_dim);

    /* -- quantizing a row: q_c = clamp(round(w_c * inv_scale), -q_max, q_max), nearest even -- */
    /* wq = sum importance w q, qq = sum importance q^2 (importance NULL: 1), accumulated in f64
     * at least every 1,024 columns */
    void (*quant_moments)(double *wq, double *qq, const float *w, const float *importance, int n,
                          float inv_scale, int q_max);
    void (*quant_round)(int8_t *q, const float *w, int n, float inv_scale, int q_max);

    /* -- calibrated quantizing: tiles are f32 [cols][BC_TILE_ROWS], 64-byte aligned, scales f32
     *    [BC_TILE_ROWS] >= 0. Products are rounded before they are subtracted and each element sees
     *    its updates by ascending column, so the bits are equal on every ISA. -- */
    /* tile = x' for rows <= BC_TILE_ROWS that are `stride` apart; missing rows read as 0 */
    void (*tile_in)(float *tile, const float *x, size_t stride, int rows, int cols);
    void (*tile_out)(float *x, size_t stride, const float *tile, int rows, int cols);
    /* For column j = 0, 1, ...: q_j = clamp(round(w_j / scale)), 0 where scale is 0;
     * errors_j = (w_j - scale q_j) / u[j][j]; w_k -= errors_j u[j][k] for k > j. u [cols][cols]. */
    void (*gptq_tile)(float *w, float *errors, float *q, const float *u, const float *scales,
                      int cols, int q_max);
    /* One row, for column j = 0, 1, ...: q' = clamp(round(q_j + (wh_j - scale qh_j) / (scale h_jj))), q_j where scale
     * is 0; where they differ qh_k += (q' - q_j) h[j][k] for every k and q_j = q'. h [cols][cols], `diagonal` its
     * diagonal. Few integers change in a sweep, so this goes by row, each change once through a row of h. */
    void (*descend)(float *qh, int8_t *q, const float *wh, const float *h, const float *diagonal,
                    float scale, int cols, int q_max);

    /* -- gradients -- */
    /* A product with W transposed, out[t][j] = sum_r a[t][r] q[r][j], over a block of rows <= BC_BACK_ROWS: exact.
     * With max = max|dy scales|, if max > fine_above, a_r = round(dy_r scales_r BC_BACK_MAX / max), to nearest even, step =
     * max / BC_BACK_MAX; else a_r = 256 round(dy_r scales_r BC_BACK_COARSE / max), step = max / BC_BACK_COARSE / 256; with
     * dither, bc_dither is added before that is rounded. step 0 where all are zero, NaN (and a = 0) where one is a NaN or
     * infinity. Into BC_BACK_CODES bytes (layout private to the ISA). Returns sum_r a_r. */
    int32_t (*quantize_i16)(uint8_t *codes, float *step, const float *dy, const float *scales,
                            int rows, float fine_above, int dither);
    /* Columns 0..width of `rows` rows into a panel of BC_BACK_PANEL_BYTES (layout private to the ISA). `cols` is the
     * distance from row (of planes: group) to row, the pointers are of the first column. */
    void (*columns_planes)(uint8_t *panel, const uint8_t *planes, size_t plane_stride, int n_planes,
                           int rows, size_t cols, int width);
    void (*columns_i8)(uint8_t *panel, const int8_t *w, int rows, size_t cols, int width);
    /* y[t * y_stride + j] = (add ? y : 0) + step[t] * out[t][j], j < width, with the codes and sums of quantize_i16.
     * n_planes 0: the panel is of columns_i8. */
    void (*gemm_columns)(float *y, size_t y_stride, const uint8_t *panel, int n_planes, int rows,
                         int width, const uint8_t *codes, const float *step, const int32_t *sum,
                         int tokens, int add);
    /* d: gradient of y = silu(gate) * up; d_up may be d */
    void (*swiglu_back)(float *d_gate, float *d_up, const float *gate, const float *up,
                        const float *d, int n);
    /* dx += gradient of the x of rmsnorm, dy that of its y; returns 1 / rms(x) */
    float (*rmsnorm_back)(float *dx, const float *x, const float *weight, const float *dy, int n,
                          float eps);
    /* sums[k * stride + i] += v[t * v_stride + k] * x[t * x_stride + i], k < rank, i < n, for token t = 0, 1, .. in turn,
     * in f64: equal bits on every ISA */
    void (*add_outer)(double *sums, size_t stride, const float *v, size_t v_stride, int rank,
                      const float *x, size_t x_stride, int n, int tokens);
    /* y[c * y_stride + r] = x[r * x_stride + c] */
    void (*transpose)(float *y, size_t y_stride, const float *x, size_t x_stride, int rows,
                      int cols);
    /* y = e^(x - top), *top = max x; returns the sum of y, kept in f64 at least every 1,024. y may
     * be x. n >= 1. */
    double (*exp_sum)(float *y, float *top, const float *x, int n);

    /* -- logits -- */
    /* most[b] = max x[BC_PEAK b + i], i < BC_PEAK, or as many as there are: (n + BC_PEAK - 1) / BC_PEAK peaks. Returns
     * whether all of x is finite; if not, the peaks are of no use. */
    int (*peaks)(float *most, const float *x, int n);
} bc_kernels;

/* Numbers that are spread evenly between -1/2 and 1/2 however many there are (multiples of the golden ratio), less a
 * little, so that 127 and one of them are still rounded to 127. Where they begin comes from the block's largest number. */
#define BC_DITHER_STEP 2654435769u
#define BC_DITHER_SIZE (0x1p-24f * 0.9921875f)
static inline uint32_t bc_dither_first(float max)
{
    uint32_t bits;
    memcpy(&bits, &max, sizeof bits);
    return (bits * 2246822519u) >> 16;
}
static inline float bc_dither(uint32_t first, int r)
{
    const int32_t whole = (int32_t)((first + (uint32_t)r) * BC_DITHER_STEP);
    return (float)(whole >> 8) * BC_DITHER_SIZE;
}

/* Fills the table for the given bc_cpu_flag bits (already cut to what the CPU has). */
void bc_kernels_init(bc_kernels *k, uint32_t cpu_flags);

void bc_kernels_init_scalar(bc_kernels *k);
void bc_kernels_init_scalar_tiles(bc_kernels *k);    /* part of it */
void bc_kernels_init_scalar_gradient(bc_kernels *k); /* part of it */
void bc_kernels_init_avx2(bc_kernels *k);
void bc_kernels_init_avx_vnni(bc_kernels *k);
void bc_kernels_init_avx512_vnni256(bc_kernels *k);
void bc_kernels_init_avx512(bc_kernels *k);
void bc_kernels_init_avx512_vnni(bc_kernels *k);
void bc_kernels_init_avx512_vbmi(bc_kernels *k);

/* For attention over int8, from the files with float words for those with vpdpbusd: code[i] = round(x[i] scale[i] *
 * BC_BACK_MAX / max), to nearest even, max = max|x scale|, zeros up to the next multiple of BC_ACT_PAD; scale NULL:
 * 1. Returns max / BC_BACK_MAX; 0 (and zeros) when all are zero, NaN when one is a NaN or infinity. */
float bc_round_i16_avx2(int16_t *code, const float *x, const float *scale, int n);
float bc_round_i16_avx512(int16_t *code, const float *x, const float *scale, int n);

/* quantize_i16 in limbs, from the files with float words for those with vpdpbusd. */
int32_t bc_quantize_limbs_avx2(uint8_t *codes, float *step, const float *dy, const float *scales,
                               int rows, float fine_above, int dither);
int32_t bc_quantize_limbs_avx512(uint8_t *codes, float *step, const float *dy, const float *scales,
                                 int rows, float fine_above, int dither);

#endif
