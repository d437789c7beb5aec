/* api_gradient.c - api_test's part for the calls of gradients. */
#include <math.h>
#include <stdlib.h>

#include "api_test.h"

/* Of test_config: hidden 8, 6 heads' columns 12, KV 6, MLP 10; see api_calibrate.c. */
enum { HIDDEN = 8, WINDOW = 5, TOKENS = 2 * WINDOW, ELEMENTS = 12 * 8, VOCAB = 7 };

static float weights[ELEMENTS];
static const uint8_t planes[4 * ELEMENTS] = { 128, 7, 200 };
static const int64_t rows[7] = { 12, 6, 6, 8, 10, 10, 8 };

static float *floats(size_t n) { return calloc(n, sizeof(float)); }
static double *doubles(size_t n) { return calloc(n, sizeof(double)); }

/* Every array, to the element, so that a sanitizer sees what is written outside. */
static bc_block_grads all_grads(void)
{
    bc_block_grads g = { .attn_norm = doubles(HIDDEN), .mlp_norm = doubles(HIDDEN) };
    for (int i = 0; i < 7; i++) {
        const size_t n = (size_t)rows[i];
        g.matrix[i] =
            (bc_matrix_grads){ doubles(n),         doubles(n), doubles(n), floats(TOKENS),
                               floats(TOKENS * n), NULL,       NULL,       floats(n * 12) };
    }
    g.qkv_in = floats(TOKENS * HIDDEN);
    g.o_in = floats(TOKENS * 12);
    g.mlp_in = floats(TOKENS * HIDDEN);
    g.down_in = floats(TOKENS * 10);
    return g;
}

static void free_grads(bc_block_grads *g)
{
    for (int i = 0; i < 7; i++) {
        const bc_matrix_grads *m = &g->matrix[i];
        void *const owned[] = {
            m->gain, m->bias, m->row_squares, m->token_squares, m->dy, m->delta
        };
        for (int k = 0; k < 6; k++) free(owned[k]);
    }
    void *const owned[] = { g->attn_norm, g->mlp_norm, g->qkv_in, g->o_in, g->mlp_in, g->down_in };
    for (int k = 0; k < 6; k++) free(owned[k]);
}

static void check_backward(bc_engine *e)
{
    bc_block *b = NULL;
    const char *text = test_config("llama", "");
    float *x = floats(TOKENS * HIDDEN), *dy = floats(TOKENS * HIDDEN);
    double norm[12] = { 0 };
    bc_block_grads all = all_grads(), heads = { .q_norm = norm };
    bc_cancel cancel = { .requested = 1 };
    for (int i = 0; i < ELEMENTS; i++) weights[i] = (float)(i * 7 % 13) * 0.1F - 0.6F;
    for (int i = 0; i < TOKENS * HIDDEN; i++) {
        x[i] = (float)(i % 7) - 3;
        dy[i] = (float)(i % 5) - 2;
    }
    CHECK(bc_block_open(&b, e, text, strlen(text), 0, WINDOW, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID,
            bc_block_backward(b, x, dy, 2, NULL, NULL, NULL, &err)); /* no weights */
    for (int i = BC_MATRIX_Q; i <= BC_MATRIX_DOWN; i++)
        CHECK(bc_block_set_dense(b, i, weights, BC_F32, NULL, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_block_backward(b, x, dy, 2, NULL, NULL, NULL, &err)); /* no norms */
    CHECK(bc_block_set_norms(b, weights + 60, weights + 70, NULL, NULL, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_block_backward(NULL, x, dy, 2, NULL, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_backward(b, NULL, dy, 2, NULL, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_backward(b, x, NULL, 2, NULL, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_backward(b, x, dy, -1, NULL, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID,
            bc_block_backward(b, x, dy, 2, NULL, &heads, NULL, &err)); /* no q_norm */
    REFUSED(BC_ERR_CANCELLED, bc_block_backward(b, x, dy, 2, NULL, NULL, &cancel, &err));
    CHECK(bc_block_backward(b, x, dy, 0, NULL, &all, NULL, &err) == BC_OK);
    CHECK(bc_block_backward(b, x, dy, 1, NULL, NULL, NULL, &err) == BC_OK); /* then more windows */
    CHECK(bc_block_backward(b, x, dy, 2, NULL, &all, NULL, &err) == BC_OK);
    CHECK(isfinite(dy[TOKENS * HIDDEN - 1]) && all.matrix[BC_MATRIX_UP].gain[9] != 0);
    for (int i = BC_MATRIX_Q; i <= BC_MATRIX_DOWN; i++)
        CHECK(bc_block_set_planes(b, i, planes, weights, 1 + i % 4, 1, NULL, &err) == BC_OK);
    CHECK(bc_block_backward(b, x, dy, 2, NULL, &all, NULL, &err) == BC_OK);
    CHECK(isfinite(dy[TOKENS * HIDDEN - 1]));
    bc_block_close(b);
    free_grads(&all);
    free(x);
    free(dy);
}

/* A matrix that is added, of a layer; the engine's work space let go in between. */
static void check_delta(bc_engine *e)
{
    bc_block *b = NULL;
    const char *text = test_config("llama", "");
    float *x = floats(TOKENS * HIDDEN), *dy = floats(TOKENS * HIDDEN), *d = floats(ELEMENTS);
    float *sum = floats(ELEMENTS);
    bc_block_grads grads = { 0 };
    for (int i = 0; i < TOKENS * HIDDEN; i++) x[i] = dy[i] = (float)(i % 7) - 3;
    CHECK(bc_block_open(&b, e, text, strlen(text), 0, WINDOW, &err) == BC_OK);
    for (int i = BC_MATRIX_Q; i <= BC_MATRIX_DOWN; i++)
        CHECK(bc_block_set_planes(b, i, planes, weights, 2, 1, NULL, &err) == BC_OK);
    CHECK(bc_block_set_norms(b, weights + 60, weights + 70, NULL, NULL, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_block_set_delta(NULL, 0, d, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_delta(b, 7, d, &err));
    REFUSED(BC_ERR_INVALID, bc_model_set_delta(NULL, 0, 0, planes, d, 2, &err));
    CHECK(bc_block_set_delta(b, BC_MATRIX_DOWN, d, &err) == BC_OK);
    grads.matrix[BC_MATRIX_DOWN].delta = sum;
    bc_engine_let_go(e);
    bc_engine_let_go(NULL);
    CHECK(bc_block_backward(b, x, dy, 2, NULL, &grads, NULL, &err) == BC_OK);
    CHECK(isfinite(dy[TOKENS * HIDDEN - 1]) && sum[8 * 10 - 1] != 0);
    grads.matrix[BC_MATRIX_DOWN].gain = (double *)(void *)sum;
    REFUSED(BC_ERR_INVALID, bc_block_backward(b, x, dy, 2, NULL, &grads, NULL, &err));
    CHECK(bc_block_set_delta(b, BC_MATRIX_DOWN, NULL, &err) == BC_OK);
    bc_block_close(b);
    void *const owned[] = { x, dy, d, sum };
    for (int i = 0; i < 4; i++) free(owned[i]);
}

/* Windows of different lengths, replicas, low-rank additions. */
static void check_windows(bc_engine *e)
{
    bc_block *b = NULL;
    const char *text = test_config("llama", "");
    const int32_t lengths[4] = { 5, 1, 5, 1 }, zero[1] = { 0 }, long_[1] = { WINDOW + 1 };
    enum { PACKED = 12, RANK = 3, KEPT = 100 };
    float *kept = floats(PACKED * KEPT);
    float *x = floats(PACKED * HIDDEN), *dy = floats(PACKED * HIDDEN), *scales = floats(2 * 12);
    float *a = floats(RANK * 12), *across = floats(RANK * 12);
    double *da = doubles(RANK * HIDDEN), *db = doubles(RANK * 12);
    const bc_matrix_replicas own[7] = { { .scales = scales } };
    bc_block_grads grads = { 0 };
    bc_cancel cancel = { .requested = 1 };
    for (int i = 0; i < PACKED * HIDDEN; i++) x[i] = dy[i] = (float)(i % 7) - 3;
    for (int i = 0; i < 2 * 12; i++) scales[i] = 0.1F * (float)(1 + i);
    for (int i = 0; i < RANK * 12; i++) a[i] = across[i] = (float)(i % 5) - 2;
    CHECK(bc_block_open(&b, e, text, strlen(text), 0, WINDOW, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID,
            bc_block_windows(b, x, lengths, 4, NULL, 1, NULL, NULL, &err)); /* no weights */
    for (int i = BC_MATRIX_Q; i <= BC_MATRIX_DOWN; i++)
        CHECK(bc_block_set_planes(b, i, planes, weights, 2, 1, NULL, &err) == BC_OK);
    CHECK(bc_block_set_norms(b, weights + 60, weights + 70, NULL, NULL, &err) == BC_OK);
    REFUSED(BC_ERR_INVALID, bc_block_windows(NULL, x, lengths, 4, NULL, 1, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_windows(b, NULL, lengths, 4, NULL, 1, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_windows(b, x, NULL, 4, NULL, 1, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_windows(b, x, lengths, -1, NULL, 1, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_windows(b, x, zero, 1, NULL, 1, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_windows(b, x, long_, 1, NULL, 1, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_windows(b, x, lengths, 4, own, 3, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_windows(b, x, lengths, 4, own, 0, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_windows(b, x, lengths, 4, NULL, 2, NULL, NULL, &err));
    REFUSED(BC_ERR_CANCELLED, bc_block_windows(b, x, lengths, 4, own, 2, NULL, &cancel, &err));
    CHECK(bc_block_windows(b, x, lengths, 0, NULL, 1, NULL, NULL, &err) == BC_OK);
    CHECK(bc_block_windows(b, x, lengths, 2, NULL, 1, NULL, NULL, &err) == BC_OK); /* then more */
    REFUSED(BC_ERR_INVALID, bc_block_windows(b, x, lengths, 4, own, 2, kept, NULL, &err));
    CHECK(bc_block_kept_columns(NULL) == 0 && bc_block_kept_columns(b) <= KEPT);
    CHECK(bc_block_windows(b, x, lengths, 4, own, 2, NULL, NULL, &err) == BC_OK);
    CHECK(bc_block_windows(b, x, lengths, 4, NULL, 1, kept, NULL, &err) == BC_OK);
    CHECK(isfinite(x[PACKED * HIDDEN - 1]));
    REFUSED(BC_ERR_INVALID, bc_block_backward(b, x, dy, 1, zero, NULL, NULL, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_lora(NULL, 0, a, across, RANK, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_lora(b, 7, a, across, RANK, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_lora(b, 0, NULL, across, RANK, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_lora(b, 0, a, across, 257, &err));
    REFUSED(BC_ERR_INVALID, bc_block_set_lora(b, 0, a, across, -1, &err));
    CHECK(bc_block_set_lora(b, BC_MATRIX_Q, a, across, RANK, &err) == BC_OK);
    grads.matrix[BC_MATRIX_Q].lora_a = da;
    grads.matrix[BC_MATRIX_Q].lora_b = db;
    CHECK(bc_block_backward(b, x, dy, 4, lengths, &grads, NULL, &err) == BC_OK);
    grads.kept = kept;
    grads.coarse = 1;
    CHECK(bc_block_backward(b, x, dy, 4, lengths, &grads, NULL, &err) == BC_OK);
    CHECK(isfinite(dy[PACKED * HIDDEN - 1]) && da[RANK * HIDDEN - 1] != 0);
    grads.matrix[BC_MATRIX_Q].gain = db;
    REFUSED(BC_ERR_INVALID, bc_block_backward(b, x, dy, 4, lengths, &grads, NULL, &err));
    CHECK(bc_block_set_lora(b, BC_MATRIX_Q, NULL, NULL, 0, &err) == BC_OK);
    bc_block_close(b);
    void *const owned[] = { x, dy, scales, a, across, da, db, kept };
    for (int i = 0; i < 8; i++) free(owned[i]);
}

static void fill(float *x, size_t n, int seed)
{
    for (size_t i = 0; i < n; i++) x[i] = 0.1F * (float)((int)(i + 3) * seed % 17 - 8);
}

/* Where nothing is set that replicas could have in its place. */
static void check_refused_replicas(bc_block *b, float *x, const bc_matrix_replicas *own)
{
    const int32_t lengths[2] = { 5, 1 };
    const bc_matrix_replicas half[7] = { { .lora_a = x } }, other[7] = { { .lora_b = x } };
#define WINDOWS(of) bc_block_windows(b, x, lengths, 2, of, 1, NULL, NULL, &err)
    REFUSED(BC_ERR_INVALID, WINDOWS(half));
    REFUSED(BC_ERR_INVALID, WINDOWS(other));
    for (int i = BC_MATRIX_Q; i <= BC_MATRIX_DOWN; i++) {
        bc_matrix_replicas one[7] = { { 0 } };
        one[i] = (bc_matrix_replicas){ .lora_a = own[i].lora_a, .lora_b = own[i].lora_b };
        REFUSED(BC_ERR_INVALID, WINDOWS(one));
        one[i] = (bc_matrix_replicas){ .delta = own[i].delta };
        REFUSED(BC_ERR_INVALID, WINDOWS(one));
    }
#undef WINDOWS
}

/* Replicas that differ in all that a matrix can have, to the bit what each of them alone is. */
static void check_replicas(bc_engine *e)
{
    enum { RANK = 2, PACKED = 6, REPLICAS = 5 }; /* PACKED: tokens of windows of 5 and 1 */
    static const int32_t lengths[2 * REPLICAS] = { 5, 1, 5, 1, 5, 1, 5, 1, 5, 1 };
    bc_block *b = NULL;
    const char *text = test_config("llama", "");
    bc_matrix_replicas own[7], first[7];
    const int64_t cols[7] = { 8, 8, 8, 12, 8, 8, 10 };
    float *x = floats(REPLICAS * PACKED * HIDDEN), *alone = floats(PACKED * HIDDEN);
    CHECK(bc_block_open(&b, e, text, strlen(text), 0, WINDOW, &err) == BC_OK);
    CHECK(bc_block_set_norms(b, weights + 60, weights + 70, NULL, NULL, &err) == BC_OK);
    for (int i = BC_MATRIX_Q; i <= BC_MATRIX_DOWN; i++) {
        const size_t r = (size_t)rows[i], c = (size_t)cols[i];
        float *scales = floats(REPLICAS * r), *lora_a = floats(REPLICAS * RANK * c),
              *lora_b = floats(REPLICAS * RANK * r), *delta = floats(REPLICAS * r * c);
        fill(scales, REPLICAS * r, 5);
        fill(lora_a, REPLICAS * RANK * c, 7);
        fill(lora_b, REPLICAS * RANK * r, 11);
        fill(delta, REPLICAS * r * c, 13);
        own[i] = (bc_matrix_replicas){ scales, lora_a, lora_b, delta };
        CHECK(bc_block_set_planes(b, i, planes, weights, 2, 1, NULL, &err) == BC_OK);
    }
    check_refused_replicas(b, x, own);
    for (int i = BC_MATRIX_Q; i <= BC_MATRIX_DOWN; i++) {
        CHECK(bc_block_set_lora(b, i, own[i].lora_a, own[i].lora_b, RANK, &err) == BC_OK);
        CHECK(bc_block_set_delta(b, i, own[i].delta, &err) == BC_OK);
    }
    for (int k = 0; k < REPLICAS; k++) fill(x + (size_t)k * PACKED * HIDDEN, PACKED * HIDDEN, 3);
    CHECK(bc_block_windows(b, x, lengths, 2 * REPLICAS, own, REPLICAS, NULL, NULL, &err) == BC_OK);
    for (int k = 0; k < REPLICAS; k++) {
        for (int i = BC_MATRIX_Q; i <= BC_MATRIX_DOWN; i++) {
            const size_t r = (size_t)(k * rows[i]), c = (size_t)cols[i];
            first[i] =
                (bc_matrix_replicas){ own[i].scales + r, own[i].lora_a + (size_t)(k * RANK) * c,
                                      own[i].lora_b + RANK * r, own[i].delta + r * c };
        }
        fill(alone, PACKED * HIDDEN, 3);
        CHECK(bc_block_windows(b, alone, lengths, 2, first, 1, NULL, NULL, &err) == BC_OK);
        CHECK(isfinite(alone[PACKED * HIDDEN - 1]));
        CHECK(memcmp(alone, x + (size_t)k * PACKED * HIDDEN, PACKED * HIDDEN * sizeof *x) == 0);
        CHECK(k == 0 || memcmp(alone, x, PACKED * HIDDEN * sizeof *x) != 0);
    }
    bc_block_close(b);
    free(x);
    free(alone);
    for (int i = BC_MATRIX_Q; i <= BC_MATRIX_DOWN; i++) {
        const float *const owned[] = { own[i].scales, own[i].lora_a, own[i].lora_b, own[i].delta };
        for (int k = 0; k < 4; k++) free((void *)(uintptr_t)owned[k]);
    }
}

static void check_heads(bc_engine *e)
{
    static const int8_t codes[VOCAB * HIDDEN] = { 3, -127, 127, 5 };
    bc_head dense = { .norm = weights, .weights = weights, .hidden = HIDDEN, .vocab = VOCAB };
    bc_head coded = { .norm = weights, .weights = codes, .scales = weights, .seed = 3 };
    float h[3 * HIDDEN], dh[3 * HIDDEN], w[3] = { 1, 0, 2 };
    double loss[3], dnorm[HIDDEN] = { 0 };
    const int32_t targets[3] = { 6, 0, -1 }, bad[3] = { 0, 7, 0 };
    bc_cancel cancel = { .requested = 1 };
    coded.hidden = HIDDEN;
    coded.vocab = VOCAB;
    dense.rms_eps = coded.rms_eps = 1e-5F;
    for (int i = 0; i < 3 * HIDDEN; i++) h[i] = (float)(i % 5) - 2;
#define ENTROPY(engine, head, h_, n, targets_, loss_, cancel_)                                     \
    bc_head_cross_entropy(engine, head, h_, n, targets_, w, loss_, dh, dnorm, NULL, cancel_, &err)
#define DRAWN(head, h_, loss_, cancel_)                                                            \
    bc_head_drawn_entropy(e, head, h_, 3, 5, w, loss_, dh, dnorm, cancel_, &err)
#define DIVERGENCE(head, teacher, their_h)                                                         \
    bc_head_divergence(e, head, h, 3, teacher, their_h, NULL, loss, dh, dnorm, NULL, &err)
    CHECK(ENTROPY(e, &dense, h, 3, targets, loss, NULL) == BC_OK);
    CHECK(loss[0] > 0 && loss[1] == 0 && loss[2] == 0 && dh[2 * HIDDEN] == 0);
    CHECK(bc_head_cross_entropy(e, &coded, h, 3, targets, NULL, loss, NULL, NULL, NULL, NULL,
                                &err) == BC_OK);
    CHECK(bc_head_cross_entropy(e, &coded, h, 3, targets, NULL, loss, h, NULL, NULL, NULL, &err) ==
          BC_OK); /* in place */
    CHECK(ENTROPY(e, &dense, h, 0, targets, loss, NULL) == BC_OK);
    CHECK(DRAWN(&dense, h, loss, NULL) == BC_OK && loss[0] > 0 && loss[1] == 0);
    CHECK(DRAWN(&coded, h, loss, NULL) == BC_OK && loss[2] > 0);
    REFUSED(BC_ERR_INVALID, DRAWN(NULL, h, loss, NULL));
    REFUSED(BC_ERR_INVALID, DRAWN(&dense, NULL, loss, NULL));
    REFUSED(BC_ERR_INVALID, DRAWN(&dense, h, NULL, NULL));
    REFUSED(BC_ERR_CANCELLED, DRAWN(&dense, h, loss, &cancel));
    CHECK(DIVERGENCE(&coded, &dense, h) == BC_OK && isfinite(loss[0]));
    REFUSED(BC_ERR_INVALID, ENTROPY(NULL, &dense, h, 3, targets, loss, NULL));
    REFUSED(BC_ERR_INVALID, ENTROPY(e, NULL, h, 3, targets, loss, NULL));
    REFUSED(BC_ERR_INVALID, ENTROPY(e, &dense, NULL, 3, targets, loss, NULL));
    REFUSED(BC_ERR_INVALID, ENTROPY(e, &dense, h, -1, targets, loss, NULL));
    REFUSED(BC_ERR_INVALID, ENTROPY(e, &dense, h, HUGE_SIZE, targets, loss, NULL));
    REFUSED(BC_ERR_INVALID, ENTROPY(e, &dense, h, 3, NULL, loss, NULL));
    REFUSED(BC_ERR_INVALID, ENTROPY(e, &dense, h, 3, bad, loss, NULL));
    REFUSED(BC_ERR_INVALID, ENTROPY(e, &dense, h, 3, targets, NULL, NULL));
    REFUSED(BC_ERR_CANCELLED, ENTROPY(e, &dense, h, 3, targets, loss, &cancel));
    REFUSED(BC_ERR_INVALID, DIVERGENCE(&dense, NULL, h));
    REFUSED(BC_ERR_INVALID, DIVERGENCE(NULL, &dense, h));
    REFUSED(BC_ERR_INVALID, DIVERGENCE(&dense, &dense, NULL));
    w[2] = INFINITY;
    REFUSED(BC_ERR_INVALID, ENTROPY(e, &dense, h, 3, targets, loss, NULL));
    w[2] = 1;
    bc_head wrong[8] = { dense, dense, dense, dense, dense, dense, dense, dense };
    wrong[0].norm = NULL;
    wrong[1].weights = NULL;
    wrong[2].dtype = 3;
    wrong[3].hidden = 0;
    wrong[4].vocab = -1;
    wrong[5].vocab = INT32_MAX;
    wrong[6].hidden = INT32_MAX;
    wrong[7].rms_eps = NAN;
    for (int i = 0; i < 8; i++) {
        REFUSED(BC_ERR_INVALID, ENTROPY(e, &wrong[i], h, 3, targets, loss, NULL));
        REFUSED(BC_ERR_INVALID, DIVERGENCE(&dense, &wrong[i], h));
    }
    coded.vocab = VOCAB - 1;
    REFUSED(BC_ERR_INVALID, DIVERGENCE(&coded, &dense, h));
}

void check_gradients(bc_engine *e)
{
    check_backward(e);
    check_delta(e);
    check_windows(e);
    check_replicas(e);
    check_heads(e);
}
