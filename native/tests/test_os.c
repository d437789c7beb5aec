/* test_os.c - see test_os.h. */
#if !defined(_WIN32)
#define _GNU_SOURCE
#endif
#include "test_os.h"

#include <stdlib.h>
#include <string.h>

enum { MAX_PATH_CHARS = 4096 };

#if defined(_WIN32)
#include <fcntl.h>
#include <io.h>
#include <windows.h>

#include <shellapi.h>
#include <winioctl.h>

char **test_arguments(int argc, char **argv)
{
    int n = 0;
    wchar_t **words = CommandLineToArgvW(GetCommandLineW(), &n);
    char **out = calloc((size_t)n + 1, sizeof *out);
    if (!words || !out || n != argc) return argv;
    for (int i = 0; i < n; i++) {
        const int bytes = WideCharToMultiByte(CP_UTF8, 0, words[i], -1, NULL, 0, NULL, NULL);
        out[i] = calloc(1, (size_t)bytes + 1);
        if (!out[i]) return argv;
        WideCharToMultiByte(CP_UTF8, 0, words[i], -1, out[i], bytes, NULL, NULL);
    }
    LocalFree(words);
    return out;
}

/* The absolute path after \\?\, so that 260 characters are no limit. Valid until the next call. */
static const wchar_t *wide(const char *path)
{
    static wchar_t full[MAX_PATH_CHARS + 4] = L"\\\\?\\";
    wchar_t given[MAX_PATH_CHARS] = L"";
    MultiByteToWideChar(CP_UTF8, 0, path, -1, given, MAX_PATH_CHARS);
    if (!GetFullPathNameW(given, MAX_PATH_CHARS, full + 4, NULL)) full[4] = 0;
    return full;
}

FILE *test_open_write(const char *path)
{
    DWORD n;
    HANDLE file = CreateFileW(wide(path), GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS,
                              FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) return NULL;
    /* a file system that knows no holes fills them: slower, and the same for us */
    DeviceIoControl(file, FSCTL_SET_SPARSE, NULL, 0, NULL, 0, &n, NULL);
    const int fd = _open_osfhandle((intptr_t)file, _O_BINARY);
    return fd < 0 ? NULL : _fdopen(fd, "wb");
}

int test_seek(FILE *file, uint64_t offset) { return _fseeki64(file, (long long)offset, SEEK_SET); }

int test_remove(const char *path) { return DeleteFileW(wide(path)) ? 0 : -1; }

static int make_folder(const char *path)
{
    return CreateDirectoryW(wide(path), NULL) || GetLastError() == ERROR_ALREADY_EXISTS ? 0 : -1;
}

int test_press_key(void)
{
    INPUT down = { .type = INPUT_KEYBOARD, .ki = { .wVk = VK_F24 } }, up = down;
    up.ki.dwFlags = KEYEVENTF_KEYUP;
    return SendInput(1, &down, sizeof down) == 1 && SendInput(1, &up, sizeof up) == 1 ? 0 : -1;
}

void test_wait(int milliseconds) { Sleep((DWORD)milliseconds); }

int64_t test_resident_bytes(void) { return -1; }

void test_no_display(void) {}

#else
#include <errno.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

char **test_arguments(int argc, char **argv)
{
    (void)argc;
    return argv;
}

FILE *test_open_write(const char *path) { return fopen(path, "wb"); }

int test_seek(FILE *file, uint64_t offset) { return fseeko(file, (off_t)offset, SEEK_SET); }

int test_remove(const char *path) { return remove(path); }

static int make_folder(const char *path)
{
    return mkdir(path, 0777) == 0 || errno == EEXIST ? 0 : -1;
}

int test_press_key(void) { return -1; }

void test_wait(int milliseconds)
{
    const struct timespec time = { milliseconds / 1000, milliseconds % 1000 * 1000000L };
    nanosleep(&time, NULL);
}

int64_t test_resident_bytes(void)
{
    long long pages = -1;
#if !defined(__SANITIZE_ADDRESS__)
    FILE *file = fopen("/proc/self/statm", "r"); /* all pages, those in memory, ... */
    if (!file) return -1;
    if (fscanf(file, "%*s %lld", &pages) != 1) pages = -1;
    fclose(file);
#endif
    return pages < 0 ? -1 : pages * sysconf(_SC_PAGESIZE);
}

void test_no_display(void)
{
    unsetenv("DISPLAY");
    unsetenv("WAYLAND_DISPLAY");
}
#endif

int test_make_folders(const char *path)
{
    char part[MAX_PATH_CHARS];
    if (strlen(path) >= sizeof part) return -1;
    for (size_t i = 1; path[i]; i++) {
        if (path[i] != '/') continue;
        memcpy(part, path, i);
        part[i] = 0;
        make_folder(part); /* a drive or the root is no folder of ours: the last one counts */
    }
    return make_folder(path);
}
