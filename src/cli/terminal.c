/* See terminal.h. */
#include "cli/terminal.h"

#include "base/clock.h"
#include "cli/cli.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static volatile sig_atomic_t signals;
static struct {
    char what[64];
    double start, first_done, last_draw;
    bool shown;
} line;

static void on_signal(int number)
{
    (void)number;
    if (signals > 0) { _exit(RFHE_EXIT_INTERRUPTED); }
    signals = 1;
}

void rfhe_terminal_catch_signals(void)
{
    struct sigaction a;

    memset(&a, 0, sizeof a);
    a.sa_handler = on_signal;
    (void)sigaction(SIGTERM, &a, NULL);
    (void)sigaction(SIGINT, &a, NULL);
    a.sa_handler = SIG_IGN;
    (void)sigaction(SIGPIPE, &a, NULL); /* a closed pipe becomes a write error */
}

bool rfhe_terminal_interrupted(void)
{
    return signals > 0;
}

static int silent(void *user, const char *what, double done, double total, const char *unit,
                  const char *note)
{
    (void)user, (void)what, (void)done, (void)total, (void)unit, (void)note;
    return !rfhe_terminal_interrupted();
}

static void print_duration(double s)
{
    if (s >= 3600) {
        (void)fprintf(stderr, "%dh%02dm", (int)(s / 3600), (int)(s / 60) % 60);
    } else {
        (void)fprintf(stderr, "%d:%02d", (int)(s / 60), (int)s % 60);
    }
}

static int draw(void *user, const char *what, double done, double total, const char *unit,
                const char *note)
{
    const double now = rfhe_now();

    (void)user;
    if (strncmp(line.what, what, sizeof line.what - 1) != 0 || done < line.first_done) {
        (void)snprintf(line.what, sizeof line.what, "%s", what);
        line.start = now;
        line.first_done = done;
        line.last_draw = 0;
    }
    if (now - line.last_draw >= 0.2 || (total > 0 && done >= total)) {
        const double elapsed = now - line.start;
        const double rate = elapsed > 0 ? (done - line.first_done) / elapsed : 0;
        line.last_draw = now;
        line.shown = true;
        (void)fprintf(stderr, "\r\033[K%s", what);
        if (total > 0) { (void)fprintf(stderr, " %3.0f%%", 100 * done / total); }
        if (rate > 0) { (void)fprintf(stderr, "  %.*f %s/s", rate < 10 ? 2 : 0, rate, unit); }
        if (rate > 0 && total > done) {
            (void)fputs("  ", stderr);
            print_duration((total - done) / rate);
            (void)fputs(" left", stderr);
        }
        if (note != NULL && note[0] != '\0') {
            char shown[80];
            (void)snprintf(shown, sizeof shown, "%s", note);
            rfhe_text_tame(shown, strlen(shown)); /* it may be a name from a model */
            (void)fprintf(stderr, "  %s", shown);
        }
        (void)fflush(stderr);
    }
    return !rfhe_terminal_interrupted();
}

rfhe_progress rfhe_terminal_progress(bool want_drawing)
{
    return (rfhe_progress){.report = want_drawing ? draw : silent, .user = NULL};
}

void rfhe_terminal_clear(void)
{
    if (line.shown) {
        (void)fputs("\r\033[K", stderr);
        (void)fflush(stderr);
        line.shown = false;
    }
}
