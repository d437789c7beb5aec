/* user_idle_test.c - how long ago somebody touched a key or the mouse: on Windows it is told, grows
 * while nobody does and begins anew with a key; elsewhere, without a display to ask, it is not told.
 * The real X server is asked by tests/engine/test_user.py. */
#include <stdbool.h>
#include <stdio.h>

#include "bitconverter.h"
#include "test_os.h"

enum { WAIT_MS = 600, TOLERANCE_MS = 250 };

int main(void)
{
    test_no_display();
    const int64_t before = bc_user_idle_ms();
    test_wait(WAIT_MS);
    const int64_t waited = bc_user_idle_ms();
    const bool told = test_press_key() == 0;
    const int64_t after = bc_user_idle_ms();
    const bool ok = told ? before >= 0 && waited >= before + WAIT_MS - TOLERANCE_MS && after >= 0 &&
                               after < waited
                         : before == -1 && waited == -1 && after == -1;
    printf("idle %lld ms, %d ms later %lld, then %lld: %s\n", (long long)before, WAIT_MS,
           (long long)waited, (long long)after, ok ? "ok" : "FAILED");
    return !ok;
}
