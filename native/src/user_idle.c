/* user_idle.c - how long ago the user of this computer last touched a key or the mouse.
 *
 * The libraries that know are opened at run time: the engine needs none of them, and where there is
 * no such library there is nobody to ask. */
#include "bitconverter.h"

#include <stdlib.h>

#include "platform.h"

/* ---- Windows: both counters are milliseconds modulo 2^32 ---- */

struct last_input { /* LASTINPUTINFO */
    uint32_t size, time;
};

static int64_t windows_idle(void)
{
    void *user = bc_library_open("user32.dll"), *kernel = bc_library_open("kernel32.dll");
    int (*last)(struct last_input *) = NULL;
    uint32_t (*now)(void) = NULL;
    int64_t idle = -1;
    if (user && kernel) {
        *(void **)&last = bc_library_symbol(user, "GetLastInputInfo");
        *(void **)&now = bc_library_symbol(kernel, "GetTickCount");
    }
    struct last_input info = { .size = sizeof info };
    if (last && now && last(&info)) idle = (uint32_t)(now() - info.time);
    bc_library_close(kernel);
    bc_library_close(user);
    return idle;
}

/* ---- X11's screen saver extension ---- */

struct saver_info { /* XScreenSaverInfo */
    unsigned long window;
    int state, kind;
    unsigned long til_or_since, idle, event_mask;
};

struct x11 {
    void *(*open)(const char *);
    int (*close)(void *);
    unsigned long (*root)(void *);
    int (*has_saver)(void *, int *, int *);
    int (*query)(void *, unsigned long, struct saver_info *);
};

static int64_t ask_x11(const struct x11 *x)
{
    struct saver_info info = { 0 };
    int event, error;
    int64_t idle = -1;
    void *display = x->open(NULL);
    if (!display) return -1;
    if (x->has_saver(display, &event, &error) && x->query(display, x->root(display), &info))
        idle = (int64_t)info.idle;
    x->close(display);
    return idle;
}

static int64_t x11_idle(void)
{
    void *lib = bc_library_open("libX11.so.6"), *saver = bc_library_open("libXss.so.1");
    int64_t idle = -1;
    if (lib && saver) {
        struct x11 x = { 0 };
        *(void **)&x.open = bc_library_symbol(lib, "XOpenDisplay");
        *(void **)&x.close = bc_library_symbol(lib, "XCloseDisplay");
        *(void **)&x.root = bc_library_symbol(lib, "XDefaultRootWindow");
        *(void **)&x.has_saver = bc_library_symbol(saver, "XScreenSaverQueryExtension");
        *(void **)&x.query = bc_library_symbol(saver, "XScreenSaverQueryInfo");
        if (x.open && x.close && x.root && x.has_saver && x.query) idle = ask_x11(&x);
    }
    bc_library_close(saver);
    bc_library_close(lib);
    return idle;
}

int64_t bc_user_idle_ms(void)
{
    const int64_t idle = windows_idle();
    if (idle >= 0) return idle;
    if (getenv("WAYLAND_DISPLAY")) return -1; /* an X server beside it sees its own windows only */
    return x11_idle();
}
