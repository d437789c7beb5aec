/* weights.c - see weights.h. Shapes, types and forms of stored tensors (docs/FORMAT.md 1.2). */
#include "weights.h"

#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "engine.h"
#include "error.h"
#include "files.h"

#define MAX_INT8_COLS 131072 /* 128 * 127 * cols must fit the kernels' int32 sums */

int bc_load_no_memory(const bc_loader *l)
{
    return bc_fail(l->err, BC_ERR_NOMEM, "not enough memory to open the model");
}

/* ---- vectors ---- */

/* Name of a tensor: prefix + part; all of ours fit. */
typedef struct tensor_name {
    char text[128];
} tensor_name;

static const bc_tensor *find(const bc_loader *l, const char *prefix, const char *part)
{
    tensor_name name;
    snprintf(name.text, sizeof name.text, "%s%s", prefix, part);
    return bc_files_find(l->m->files, name.text);
}

static int missing(const bc_loader *l, const char *prefix, const char *part)
{
    return bc_fail(l->err, BC_ERR_FORMAT,
                   "the weight files have no tensor %s%s, which this %s model needs", prefix, part,
                   l->m->config.model_type);
}

static int wrong_shape(const bc_loader *l, const bc_tensor *t, const char *expected)
{
    char shape[80];
    int n = snprintf(shape, sizeof shape, "[");
    for (int i = 0; i < t->n_dims && i < BC_TENSOR_DIMS; i++)
        n +=
            snprintf(shape + n, sizeof shape - (size_t)n, "%s%" PRId64, i ? ", " : "", t->shape[i]);
    snprintf(shape + n, sizeof shape - (size_t)n, "%s]", t->n_dims > BC_TENSOR_DIMS ? ", ..." : "");
    return bc_fail(l->err, BC_ERR_FORMAT, "%s: tensor %s is %s %s, but config.json needs %s",
                   t->file, t->name, t->dtype_name, shape, expected);
}

static int is_float(const bc_tensor *t)
{
    return t->type == BC_TENSOR_F32 || t->type == BC_TENSOR_F16 || t->type == BC_TENSOR_BF16;
}

/* Copies a vector of n floats out of its file; every one must be finite. */
static int copy_vector(const bc_loader *l, const bc_tensor *t, int64_t n, float **out)
{
    char expected[64];
    if (!is_float(t) || t->n_dims != 1 || t->shape[0] != n) {
        snprintf(expected, sizeof expected, "F32, F16 or BF16 [%" PRId64 "]", n);
        return wrong_shape(l, t, expected);
    }
    *out = malloc((size_t)n * sizeof **out);
    if (!*out) return bc_load_no_memory(l);
    l->m->engine->k.to_f32(*out, t->data, t->type, (size_t)n);
    for (int64_t i = 0; i < n; i++)
        if (!isfinite((*out)[i]))
            return bc_fail(l->err, BC_ERR_FORMAT,
                           "%s: tensor %s holds a value that is not finite at %" PRId64, t->file,
                           t->name, i);
    l->m->info.decode_bytes += (int64_t)t->bytes;
    return BC_OK;
}

int bc_load_vector(const bc_loader *l, const char *prefix, const char *part, int64_t n, float **out)
{
    const bc_tensor *t = find(l, prefix, part);
    return t ? copy_vector(l, t, n, out) : missing(l, prefix, part);
}

/* A bias or norm that the family's class does not have would change the result if it were
 * used: only zeros may be left out. */
int bc_refuse_vector(const bc_loader *l, const char *prefix, const char *part)
{
    const bc_tensor *t = find(l, prefix, part);
    int only_zeros = t != NULL;
    for (size_t i = 0; t && i < t->bytes; i++) only_zeros &= t->data[i] == 0;
    if (!t || only_zeros) return BC_OK;
    return bc_fail(l->err, BC_ERR_UNSUPPORTED,
                   "%s: there is a tensor %s, but a %s model with this config.json has none; the "
                   "folder is of another architecture, or its config.json is wrong",
                   t->file, t->name, l->m->config.model_type);
}

/* ---- matrices ---- */

static int set_dense(const bc_loader *l, bc_weight *w, const bc_tensor *t)
{
    char expected[80];
    if (!is_float(t) || t->n_dims != 2 || t->shape[0] != w->rows || t->shape[1] != w->cols) {
        snprintf(expected, sizeof expected, "F32, F16 or BF16 [%" PRId64 ", %" PRId64 "]", w->rows,
                 w->cols);
        return wrong_shape(l, t, expected);
    }
    w->kind = BC_WEIGHT_DENSE;
    w->dtype = t->type;
    w->data = t->data;
    return BC_OK;
}

static int set_planes(const bc_loader *l, bc_weight *w, const bc_tensor *t)
{
    char expected[80];
    int64_t groups = (w->rows + 4) / 5;
    if (t->type != BC_TENSOR_U8 || t->n_dims != 3 || t->shape[0] < 1 ||
        t->shape[0] > BC_MAX_PLANES || t->shape[1] != groups || t->shape[2] != w->cols) {
        snprintf(expected, sizeof expected, "U8 [1 to 4, %" PRId64 ", %" PRId64 "]", groups,
                 w->cols);
        return wrong_shape(l, t, expected);
    }
    w->kind = BC_WEIGHT_PLANES;
    w->n_planes = (int)t->shape[0];
    w->data = t->data;
    w->plane_stride = (size_t)(groups * w->cols);
    return BC_OK;
}

static int set_int8(const bc_loader *l, bc_weight *w, const bc_tensor *t)
{
    char expected[80];
    if (t->type != BC_TENSOR_I8 || t->n_dims != 2 || t->shape[0] != w->rows ||
        t->shape[1] != w->cols) {
        snprintf(expected, sizeof expected, "I8 [%" PRId64 ", %" PRId64 "]", w->rows, w->cols);
        return wrong_shape(l, t, expected);
    }
    if (w->cols > MAX_INT8_COLS)
        return bc_fail(l->err, BC_ERR_UNSUPPORTED,
                       "%s: tensor %s has rows of %" PRId64 "; int8 rows may have up to 131072",
                       t->file, t->name, w->cols);
    w->kind = BC_WEIGHT_INT8;
    w->data = t->data;
    return BC_OK;
}

/* The rotation for inputs of `cols` values (`direct`: that leaves them as they are), made when it
 * is first asked for. */
static int find_rotation(const bc_loader *l, int64_t cols, int direct, const bc_rotation **out)
{
    bc_model *m = l->m;
    for (int i = 0; i < m->n_rotations; i++)
        if (m->rotations[i].cols == cols && (m->rotations[i].sign == NULL) == direct) {
            *out = &m->rotations[i];
            return BC_OK;
        }
    bc_rotation *r = &m->rotations[m->n_rotations];
    int status = BC_OK;
    if (direct)
        *r = bc_rotation_none(cols);
    else
        status = bc_rotation_init(r, cols, m->config.rotation_seed, l->err);
    if (status) return status;
    m->n_rotations++;
    *out = r;
    return BC_OK;
}

static int load_scales(const bc_loader *l, bc_weight *w, const char *prefix, int direct,
                       int64_t *bytes)
{
    const bc_tensor *t = find(l, prefix, ".scales");
    if (!t) return missing(l, prefix, ".scales");
    if (t->type == BC_TENSOR_BF16) return wrong_shape(l, t, "F16 or F32 scales");
    *bytes += (int64_t)t->bytes;
    int status = copy_vector(l, t, w->rows, &w->scales);
    return status ? status : find_rotation(l, w->cols, direct, &w->rotation);
}

int bc_load_matrix(const bc_loader *l, bc_weight *w, const char *prefix, int64_t rows, int64_t cols,
                   int64_t *bytes)
{
    const bc_tensor *dense = find(l, prefix, ".weight"), *planes = find(l, prefix, ".planes");
    const bc_tensor *int8 = find(l, prefix, ".int8"), *direct = find(l, prefix, ".direct_planes");
    const bc_tensor *t = planes ? planes : direct ? direct : int8 ? int8 : dense;
    w->rows = rows;
    w->cols = cols;
    if (!t) return missing(l, prefix, ".weight");
    if ((dense != NULL) + (planes != NULL) + (direct != NULL) + (int8 != NULL) > 1)
        return bc_fail(l->err, BC_ERR_FORMAT, "%s: the matrix %s is stored in more than one form",
                       t->file, prefix);
    if (t != dense && !l->m->config.ternary)
        return bc_fail(l->err, BC_ERR_FORMAT,
                       "%s: tensor %s is of a converted model, but config.json has no "
                       "quantization_config",
                       t->file, t->name);
    int status = t == dense  ? set_dense(l, w, t)
                 : t == int8 ? set_int8(l, w, t)
                             : set_planes(l, w, t);
    *bytes = (int64_t)t->bytes;
    l->m->info.decode_bytes += (int64_t)t->bytes;
    if (status || t == dense) return status;
    return load_scales(l, w, prefix, t == direct, bytes);
}
