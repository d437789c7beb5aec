/* trace.c - see trace.h. */
#include "trace.h"

#include <stdio.h>
#include <stdlib.h>

#include "error.h"

/* A launch and its two events take the host some microseconds, longer than a small kernel: the card copies for
 * some milliseconds first, so that a step's kernels are queued when the first one begins. */
enum { HOLD_BYTES = 256 << 20, HOLDS = 16, MOST_LAUNCHES = 2048 };

struct bc_trace {
    CUevent events[2 * MOST_LAUNCHES]; /* before and after each */
    int kernels[MOST_LAUNCHES];
    int count;
    CUresult result; /* the first that was not well */
    bc_ptr hold[2];  /* 0: no room for it */
};

static void note(bc_trace *t, CUresult result)
{
    if (t->result == CUDA_SUCCESS) t->result = result;
}

int bc_trace_begin(bc_device *d, bc_error *err)
{
    if (d->trace) return bc_fail(err, BC_ERR_INVALID, "kernels are timed already");
    int status = bc_device_enter(d, err);
    if (status != BC_OK) return status;
    bc_trace *t = d->trace = calloc(1, sizeof *t);
    if (!t) return bc_fail(err, BC_ERR_NOMEM, "no memory for timing kernels");
    for (int i = 0; i < 2 * MOST_LAUNCHES; i++)
        note(t, d->api.EventCreate(&t->events[i], CU_EVENT_DEFAULT));
    for (int i = 0; i < 2; i++) bc_device_alloc(d, &t->hold[i], HOLD_BYTES, NULL);
    if (t->result == CUDA_SUCCESS) return BC_OK;
    status = bc_cuda_failed(&d->api, t->result, "timing kernels", err);
    bc_trace_close(d);
    return status;
}

void bc_trace_close(bc_device *d)
{
    bc_trace *t = d->trace;
    if (!t) return;
    bc_device_wait(d, NULL);
    for (int i = 0; i < 2 * MOST_LAUNCHES; i++)
        if (t->events[i]) d->api.EventDestroy(t->events[i]);
    for (int i = 0; i < 2; i++) bc_device_release(d, t->hold[i], HOLD_BYTES);
    free(t);
    d->trace = NULL;
}

static void hold(const bc_device *d, bc_trace *t)
{
    for (int i = 0; i < HOLDS && t->hold[0] && t->hold[1]; i++)
        note(t, d->api.MemcpyDtoDAsync(t->hold[0], t->hold[1], (size_t)HOLD_BYTES, d->stream));
}

void bc_trace_before(bc_device *d, int kernel)
{
    bc_trace *t = d->trace;
    if (t->count == MOST_LAUNCHES) return;
    if (t->count == 0) hold(d, t);
    t->kernels[t->count] = kernel;
    note(t, d->api.EventRecord(t->events[2 * t->count], d->stream));
}

void bc_trace_after(bc_device *d)
{
    bc_trace *t = d->trace;
    if (t->count == MOST_LAUNCHES) return;
    note(t, d->api.EventRecord(t->events[2 * t->count + 1], d->stream));
    t->count++;
}

static int by_time(const void *a, const void *b)
{
    const double x = ((const bc_kernel_time *)a)->seconds, y = ((const bc_kernel_time *)b)->seconds;
    return (x < y) - (x > y);
}

static int32_t sums(const bc_device *d, bc_trace *t, bc_kernel_time *times)
{
    bc_kernel_time all[BC_N_GPU_KERNELS] = { 0 };
    for (int i = 0; i < t->count; i++) {
        float milliseconds = 0;
        note(t, d->api.EventElapsedTime(&milliseconds, t->events[2 * i], t->events[2 * i + 1]));
        all[t->kernels[i]].seconds += (double)milliseconds * 1e-3;
        all[t->kernels[i]].launches++;
    }
    int32_t n = 0;
    for (int i = 0; i < BC_N_GPU_KERNELS; i++)
        if (all[i].launches) {
            snprintf(all[i].name, sizeof all[i].name, "%s", bc_kernel_name(i));
            times[n++] = all[i];
        }
    qsort(times, (size_t)n, sizeof *times, by_time);
    return n;
}

int bc_trace_end(bc_device *d, bc_kernel_time *times, int32_t *n, bc_error *err)
{
    _Static_assert((int)BC_N_GPU_KERNELS <= (int)BC_MOST_KERNEL_TIMES, "all kernels fit");
    *n = 0;
    bc_trace *t = d->trace;
    if (!t) return bc_fail(err, BC_ERR_INVALID, "no kernels are timed");
    int status = bc_device_enter(d, err);
    if (status == BC_OK) status = bc_device_wait(d, err);
    if (status == BC_OK && t->count == MOST_LAUNCHES)
        status = bc_fail(err, BC_ERR_INVALID, "more than %d kernels ran: time a shorter piece",
                         MOST_LAUNCHES - 1);
    if (status == BC_OK) {
        *n = sums(d, t, times);
        if (t->result != CUDA_SUCCESS)
            status = bc_cuda_failed(&d->api, t->result, "timing kernels", err);
    }
    bc_trace_close(d);
    return status;
}
