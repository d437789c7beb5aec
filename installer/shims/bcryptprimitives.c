/* bcryptprimitives.c - TEST ONLY, never shipped: ProcessPrng for wine 8, by the older call. */
#include <stddef.h>
#include <windows.h>

__declspec(dllimport) BOOLEAN WINAPI SystemFunction036(void *buffer, ULONG n); /* RtlGenRandom */

__declspec(dllexport) BOOL WINAPI ProcessPrng(BYTE *buffer, size_t n)
{
    while (n > 0) {
        const ULONG part = n > 0x10000000 ? 0x10000000 : (ULONG)n;
        if (!SystemFunction036(buffer, part)) return FALSE;
        buffer += part;
        n -= part;
    }
    return TRUE;
}
