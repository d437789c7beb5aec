/* sampler.h - the sampler for who has an engine. */
#ifndef BC_SAMPLER_H
#define BC_SAMPLER_H

#include "bitconverter.h"
#include "kernels.h"

/* bc_sample with these kernels; bc_sample itself takes the scalar ones. */
int bc_sample_by(const bc_kernels *k, const float *logits, int32_t vocab, const int32_t *history,
                 int32_t n_history, const bc_sampler_params *p, uint64_t counter, int32_t *token,
                 bc_error *err);

#endif
