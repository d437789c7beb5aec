/* kernels.cpp - the kernels themselves, compiled for this processor, and their names. */
#include <array>
#include <tuple>
#include <utility>

#include "emulator.hpp"

#define BC_DEVICE_HEADER "emulated_device.cuh"
#include "../../cuda/kernels/kernels.cu"

namespace
{
/* A launch gives the addresses of the arguments; their types are the kernel's. */
template <auto kernel> struct Binder;
template <class... Types, void (*kernel)(Types...)> struct Binder<kernel> {
    template <size_t... I>
    static std::function<void()> with(void **arguments, std::index_sequence<I...>)
    {
        const std::tuple<Types...> values(*static_cast<Types *>(arguments[I])...);
        return [values] { std::apply(kernel, values); };
    }
    static std::function<void()> bind(void **arguments)
    {
        return with(arguments, std::index_sequence_for<Types...>());
    }
};

#define BC_KERNEL_NAME(name, ...) { #name, Binder<name>::bind },
const bc_emulated_kernel kernels[] = {
#include "../../cuda/kernels/list.h"
};
} // namespace

const bc_emulated_kernel *bc_emulated_find(const char *name)
{
    for (const bc_emulated_kernel &kernel : kernels)
        if (strcmp(kernel.name, name) == 0) return &kernel;
    return nullptr;
}
