/* sampler.h - the checks shared by the two ways into the sampler. */
#ifndef BC_SAMPLER_H
#define BC_SAMPLER_H

#include "bitconverter.h"

int bc_sampler_check(const bc_sampler_params *p, bc_error *err);

#endif
