/* api_calibrate.c - api_test's part for the calls of calibrated quantizing. */
#include <math.h>

#include "api_test.h"

/* Of test_config("llama", ""): matrices of 12 x 8, 6 x 8 (twice), 8 x 12, 10 x 8 (twice), 8 x 10. */
enum { HIDDEN = 8, WINDOW = 5, ELEMENTS = 12 * 8 };

static const float values[ELEMENTS] = { 0.5F, -0.25F, 1, 0, 2 };
static const uint8_t planes[4 * ELEMENTS] = { 128, 7, 200 };

static void check_block_open(bc_engine *e)
{
    bc_block *block = (bc_block *)&err; /* anything but NULL */
    const char *text = test_config("llama", "");
    const size_t n = strlen(text);
    REFUSED(BC_ERR_INVALID, bc_block_open(NULL, e, text, n, 0, WINDOW, &err));
    REFUSED(BC_ERR_INVALID, bc_block_open(&block, NULL, text, n, 0, WINDOW, &err));
    CHECK(block == NULL);
    REFUSED(BC_ERR_INVALID, bc_block_open(&block, e, NULL, n, 0, WINDOW, &err));
    REFUSED(BC_ERR_FORMAT, bc_block_open(&block, e, text, n - 1, 0, WINDOW, &err));
    REFUSED(BC_ERR_INVALID, bc_block_open(&block, e, text, n, -1, WINDOW, &err));
    REFUSED(BC_ERR_INVALID, bc_block_open(&block, e, text, n, 1, WINDOW, &err));
    REFUSED(BC_ERR_INVALID, bc_block_open(&block, e, text, n, 0, 0, &err));
    REFUSED(BC_ERR_INVALID, bc_block_open(&block, e, text, n, 0, 65, &err));
    CHECK(block == NULL);
    text = test_config("gemma3", "");
    REFUSED(BC_ERR_UNSUPPORTED, bc_block_open(&block, e, text, strlen(text), 0, WINDOW, &err));
    bc_block_close(NULL);
}

static void check_block_set(bc_block *b)
{
    const int q = BC_MATRIX_Q;
    REFUSED(BC_ERR_INVALID, bc_block_set_dense(NULL, q, values, BC_F32, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_dense(b, -1, values, BC_F32, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_dense(b, 7, values, BC_F32, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_dense(b, q, NULL, BC_F32, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_dense(b, q, values, 3, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_dense(b, q, values, BC_F32, values, &err)); /* no bias */
    REFUSED(BC_ERR_INVALID, bc_block_set_planes(NULL, q, planes, values, 2, 1, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_planes(b, 7, planes, values, 2, 1, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_planes(b, q, NULL, values, 2, 1, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_planes(b, q, planes, NULL, 2, 1, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_planes(b, q, planes, values, 0, 1, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_planes(b, q, planes, values, 5, 1, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_planes(b, q, planes, values, 2, 1, values, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_norms(NULL, values, values, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_norms(b, NULL, values, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_norms(b, values, NULL, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_norms(b, values, values, values, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_norms(b, values, values, NULL, values, &err));
}

static void check_block_forward(bc_block *b)
{
    float x[2 * WINDOW * HIDDEN], mlp_in[2 * WINDOW * HIDDEN];
    bc_cancel cancel = { .requested = 1 };
    for (int i = 0; i < 2 * WINDOW * HIDDEN; i++) x[i] = (float)(i % 7) - 3;
    REFUSED(BC_ERR_INVALID, bc_block_forward(b, x, 2, NULL, NULL, NULL, NULL, NULL, &err));
    for (int i = BC_MATRIX_Q; i <= BC_MATRIX_DOWN; i++)
        CHECK(bc_block_set_dense(b, i, values, BC_F32, NULL, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_block_forward(b, x, 2, NULL, NULL, NULL, NULL, NULL, &err));
    CHECK(bc_block_set_norms(b, values, values, NULL, NULL, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_block_forward(NULL, x, 2, NULL, NULL, NULL, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_forward(b, NULL, 2, NULL, NULL, NULL, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_forward(b, x, -1, NULL, NULL, NULL, NULL, NULL, &err));
    REFUSED(BC_ERR_CANCELLED, bc_block_forward(b, x, 2, NULL, NULL, NULL, NULL, &cancel, &err));
    CHECK(bc_block_set_planes(b, BC_MATRIX_GATE, planes, values, 2, 1, NULL, &err) == BC_OK);
    CHECK(bc_block_set_planes(b, BC_MATRIX_UP, planes, values, 4, 2, NULL, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_block_forward(b, x, 2, NULL, NULL, NULL, NULL, NULL, &err));
    CHECK(bc_block_set_planes(b, BC_MATRIX_UP, planes, values, 4, 1, NULL, &err) == BC_OK);
    CHECK(bc_block_forward(b, x, 2, NULL, NULL, mlp_in, NULL, NULL, &err) == BC_OK);
    CHECK(isfinite(x[2 * WINDOW * HIDDEN - 1]) && isfinite(mlp_in[2 * WINDOW * HIDDEN - 1]));
    CHECK(bc_block_forward(b, x, 0, NULL, NULL, NULL, NULL, NULL, &err) == BC_OK);
}

/* Families with more vectors must be given them. */
static void check_block_needs(bc_engine *e)
{
    bc_block *block = NULL;
    const char *text = test_config("qwen2", "");
    CHECK(bc_block_open(&block, e, text, strlen(text), 0, WINDOW, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_block_set_dense(block, BC_MATRIX_K, values, 0, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_dense(block, BC_MATRIX_O, values, 0, values, &err));
    CHECK(bc_block_set_dense(block, BC_MATRIX_K, values, 0, values, &err) == BC_OK);
    bc_block_close(block);
    text = test_config("qwen3", "");
    CHECK(bc_block_open(&block, e, text, strlen(text), 0, WINDOW, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_block_set_norms(block, values, values, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_norms(block, values, values, values, NULL, &err));
    CHECK(bc_block_set_norms(block, values, values, values, values, &err) == BC_OK);
    bc_block_close(block);
}

void check_block(bc_engine *e)
{
    bc_block *block = NULL;
    check_block_open(e);
    const char *text = test_config("llama", "");
    CHECK(bc_block_open(&block, e, text, strlen(text), 0, WINDOW, &err) == BC_OK);
    if (!block) return;
    check_block_set(block);
    check_block_forward(block);
    bc_block_close(block);
    check_block_needs(e);
}

static void check_gptq(bc_engine *e)
{
    float x[6] = { 1, 2, 3, 4, 5, 6 }, out[6], m[9] = { 1, 0, 0, 0, 1, 0, 0, 0, 1 };
    float scales[2] = { 1, 0 };
    int8_t q[6] = { 0 };
    const float bad[] = { 0, -1, NAN, INFINITY };
    CHECK(bc_gptq_block(e, x, 3, m, scales, 4, q, 3, out, 2, 3, &err) == BC_OK);
    CHECK(q[2] == 3 && q[3] == 0);
    CHECK(bc_gptq_block(e, x, 3, m, scales, 4, q, 3, out, 0, 3, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_gptq_block(NULL, x, 3, m, scales, 4, q, 3, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, NULL, 3, m, scales, 4, q, 3, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, NULL, scales, 4, q, 3, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, NULL, 4, q, 3, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 4, NULL, 3, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 4, q, 3, NULL, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 2, m, scales, 4, q, 3, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, -3, m, scales, 4, q, 3, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, HUGE_SIZE, m, scales, 4, q, 3, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 4, q, 2, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 4, q, HUGE_SIZE, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 0, q, 3, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 128, q, 3, out, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 4, q, 3, out, -1, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 4, q, 3, out, HUGE_SIZE, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 4, q, 3, out, 2, 0, &err));
    REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 2000, m, scales, 4, q, 2000, out, 2, 1025, &err));
    for (int i = 0; i < 4; i++) {
        m[4] = bad[i];
        REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 4, q, 3, out, 2, 3, &err));
        CHECK(strstr(err.message, "[1][1]") != NULL);
    }
    m[4] = 1;
    for (int i = 1; i < 4; i++) {
        scales[1] = bad[i];
        REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 4, q, 3, out, 2, 3, &err));
        CHECK(strstr(err.message, "row 1") != NULL);
    }
    scales[1] = 1;
    for (int i = 2; i < 4; i++) {
        x[5] = bad[i];
        REFUSED(BC_ERR_INVALID, bc_gptq_block(e, x, 3, m, scales, 4, q, 3, out, 2, 3, &err));
        CHECK(strstr(err.message, "row 1") != NULL);
    }
}

static void check_descent(bc_engine *e)
{
    const float eye[9] = { 1, 0, 0, 0, 1, 0, 0, 0, 1 }, bad[] = { 0, -1, NAN, INFINITY };
    float w[6] = { 1, 2, 3, 4, 5, 6 }, wh[6], qh[6] = { 0 }, scales[2] = { 1, 0 }, h[9];
    double sums[6] = { 0.5 };
    int8_t q[6] = { 0 };
    memcpy(h, eye, sizeof h);
    memcpy(wh, w, sizeof wh);
    CHECK(bc_descent(e, w, wh, qh, 3, h, scales, 2, q, 3, sums, 2, 3, &err) == BC_OK);
    CHECK(q[0] == 1 && q[1] == 2 && q[2] == 2 && qh[2] == 2 && q[3] == 0 && qh[3] == 0);
    CHECK(sums[0] == 1.5 && sums[1] == 2 && sums[2] == 9 && sums[3] == 77 && sums[5] == 0);
    CHECK(bc_descent(e, w, wh, qh, 3, h, scales, 4, q, 3, sums, 0, 3, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_descent(NULL, w, wh, qh, 3, h, scales, 4, q, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, NULL, wh, qh, 3, h, scales, 4, q, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, h, scales, 4, q, 3, NULL, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, NULL, qh, 3, h, scales, 4, q, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, NULL, 3, h, scales, 4, q, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, NULL, scales, 4, q, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, h, NULL, 4, q, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, h, scales, 4, NULL, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 2, h, scales, 4, q, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID,
            bc_descent(e, w, wh, qh, HUGE_SIZE, h, scales, 4, q, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, h, scales, 4, q, 2, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, h, scales, 0, q, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, h, scales, 128, q, 3, sums, 2, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, h, scales, 4, q, 3, sums, -1, 3, &err));
    REFUSED(BC_ERR_INVALID,
            bc_descent(e, w, wh, qh, 3, h, scales, 4, q, 3, sums, HUGE_SIZE, 3, &err));
    REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, h, scales, 4, q, 3, sums, 2, 0, &err));
    REFUSED(BC_ERR_INVALID,
            bc_descent(e, w, wh, qh, 3, h, scales, 4, q, 3, sums, 2, INT32_MAX, &err));
    for (int i = 0; i < 4; i++) {
        h[4] = bad[i];
        REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, h, scales, 4, q, 3, sums, 2, 3, &err));
        CHECK(strstr(err.message, "h[1][1]") != NULL);
    }
    h[4] = 1;
    for (int i = 1; i < 4; i++) {
        scales[1] = bad[i];
        REFUSED(BC_ERR_INVALID, bc_descent(e, w, wh, qh, 3, h, scales, 4, q, 3, sums, 2, 3, &err));
        CHECK(strstr(err.message, "row 1") != NULL);
    }
    scales[1] = 1;
    for (int i = 2; i < 4; i++) {
        float *const given[] = { w, wh, qh };
        for (int k = 0; k < 3; k++) {
            const float was = given[k][5];
            given[k][5] = bad[i];
            REFUSED(BC_ERR_INVALID,
                    bc_descent(e, w, wh, qh, 3, h, scales, 4, q, 3, sums, 2, 3, &err));
            CHECK(strstr(err.message, "row 1") != NULL);
            given[k][5] = was;
        }
    }
}

void check_calibrate(bc_engine *e)
{
    int8_t q[12] = { 1, -1, 4, -4 }, back[12];
    uint8_t packed[4 * 6];
    check_gptq(e);
    check_descent(e);
    CHECK(bc_planes_pack(e, q, 2, 2, 6, packed, &err) == BC_OK);
    CHECK(bc_planes_unpack(e, packed, 2, 2, 6, back, &err) == BC_OK && !memcmp(q, back, 12));
    REFUSED(BC_ERR_INVALID, bc_planes_pack(e, q, 1, 2, 6, packed, &err)); /* 4 does not fit */
    REFUSED(BC_ERR_INVALID, bc_planes_pack(NULL, q, 2, 2, 6, packed, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_pack(e, NULL, 2, 2, 6, packed, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_pack(e, q, 2, 2, 6, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_pack(e, q, 0, 2, 6, packed, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_pack(e, q, 5, 2, 6, packed, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_pack(e, q, 2, 0, 6, packed, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_pack(e, q, 2, 2, -6, packed, &err));
    REFUSED(BC_ERR_INVALID, bc_planes_pack(e, q, 2, HUGE_SIZE, 6, packed, &err));
}
