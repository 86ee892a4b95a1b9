/* rfhe encrypt PROGRAM IMAGE...: the owner's images as requests. */
#include "cli/sides.h"

#include "base/clock.h"
#include "base/file.h"
#include "base/mem.h"

#include <stdio.h>

static const rfhe_opt options[] = {
    {"output", 'o', RFHE_OPT_TEXT, "DIR", NULL, "folder for the requests, made if need be (default: the working folder)"},
    {"data", 'd', RFHE_OPT_TEXT, "SPEC", NULL, "images of a data set instead of image files"},
    {"split", 0, RFHE_OPT_TEXT, "NAME", NULL, "test, val, train, fit[:N] or select[:N] (default: test)"},
    {"limit", 0, RFHE_OPT_UINT, "N", NULL, "only N images of the data set (default: 1)"},
    RFHE_OPTIONS_PREPROCESSING,
    RFHE_OPTION_INSECURE,
    {NULL, 0, RFHE_OPT_END, NULL, NULL, NULL},
};

typedef struct job {
    rfhe_cli *cli;
    const rfhe_args *args;
    const char *folder; /* for the requests */
    rfhe_program *p;
    rfhe_client *client;
    rfhe_json j;
    size_t count, bytes;
    double seconds;
} job;

/* One request file; `name` is the image's, or its number in the data set. */
static rfhe_status write_request(job *b, const char *name, const float *image, rfhe_error *err)
{
    char path[4096];
    uint8_t *data = NULL;
    size_t size = 0;
    rfhe_status st = RFHE_OK;
    const double start = rfhe_now();

    RFHE_TRY(sides_file(path, sizeof path, b->folder, name, "request", err));
    RFHE_TRY(rfhe_client_request(&data, &size, b->client, image, path, err));
    RFHE_TRY(rfhe_file_write(path, data, size, 0644, err));
    b->seconds += rfhe_now() - start;
    b->count++;
    b->bytes += size;
    if (b->cli->json) {
        rfhe_json_object(&b->j, NULL);
        rfhe_json_string(&b->j, "file", path);
        rfhe_json_integer(&b->j, "bytes", (int64_t)size);
        rfhe_json_end_object(&b->j);
    } else {
        rfhe_text_printf(&b->cli->out, "%s  %.0f KiB\n", path, (double)size / 1024);
    }

done:
    rfhe_bytes_free(data);
    return st;
}

static rfhe_status from_files(job *b, rfhe_error *err)
{
    const size_t pixels = sides_pixels(b->p);
    rfhe_status st = RFHE_OK;
    rfhe_image image = {0};
    rfhe_transform t;
    float *x = rfhe_alloc(pixels, sizeof *x);

    if (x == NULL) {
        st = rfhe_fail(err, RFHE_E_NOMEM, "no memory for an image");
        goto done;
    }
    RFHE_TRY(sides_transform(&t, b->p, NULL, b->args, err));
    for (unsigned i = 1; i < rfhe_args_count(b->args); i++) {
        uint32_t c = 0, h = 0, w = 0;
        RFHE_TRY(rfhe_image_read(&image, rfhe_args_at(b->args, i), err));
        RFHE_TRY(rfhe_transform_size(&c, &h, &w, &t, image.channels, image.height, image.width, err));
        if (c != b->p->image_channels || h != b->p->image_height || w != b->p->image_width) {
            st = rfhe_fail(err, RFHE_E_FORMAT, "'%s' becomes %u x %u x %u, the program wants %u x %u x %u: see --resize and --crop",
                           rfhe_args_at(b->args, i), c, h, w, b->p->image_channels, b->p->image_height, b->p->image_width);
            goto done;
        }
        RFHE_TRY(rfhe_transform_apply(x, pixels, &image, &t, err));
        RFHE_TRY(write_request(b, rfhe_args_at(b->args, i), x, err));
    }

done:
    rfhe_free_secret(x);
    sides_image_clear(&image);
    return st;
}

static rfhe_status from_data(job *b, const char *spec, rfhe_error *err)
{
    rfhe_status st = RFHE_OK;
    sides_images images = {0};
    char name[64];

    RFHE_TRY(sides_load(&images, b->p, spec, rfhe_args_text(b->args, "split", "test"), rfhe_args_uint(b->args, "limit", 1),
                        b->args, &b->cli->progress, err));
    for (size_t i = 0; i < images.count; i++) {
        (void)snprintf(name, sizeof name, "image-%05zu", i);
        RFHE_TRY(write_request(b, name, images.x + i * sides_pixels(b->p), err));
    }

done:
    sides_images_clear(&images);
    return st;
}

static rfhe_status work(job *b, rfhe_error *err)
{
    const char *folder = rfhe_args_at(b->args, 0), *spec = rfhe_args_text(b->args, "data", NULL);
    char client[4096];
    rfhe_status st = RFHE_OK;

    if (snprintf(client, sizeof client, "%s/client", folder) >= (int)sizeof client) {
        return rfhe_fail(err, RFHE_E_ARG, "the path '%.100s...' is too long", folder);
    }
    RFHE_TRY(sides_distinct(b->args, err));
    RFHE_TRY(rfhe_program_load(&b->p, client, false, err));
    RFHE_TRY(rfhe_client_open(&b->client, b->p, folder, err));
    RFHE_TRY(sides_accept(b->cli, b->args, rfhe_client_parameters(b->client), err));
    RFHE_TRY(sides_output(&b->folder, b->args, err));
    RFHE_TRY(spec != NULL ? from_data(b, spec, err) : from_files(b, err));

done:
    rfhe_client_free(b->client);
    rfhe_program_free(b->p);
    return st;
}

static int run(rfhe_cli *cli, const rfhe_args *args)
{
    rfhe_error err = {0};
    job b = {.cli = cli, .args = args, .j = {.out = &cli->out}};

    if ((rfhe_args_count(args) > 1) == (rfhe_args_text(args, "data", NULL) != NULL)) {
        return rfhe_cli_usage(cli, "either image files or --data SPEC");
    }
    if (cli->json) {
        rfhe_json_object(&b.j, NULL);
        rfhe_json_string(&b.j, "schema", "rfhe.encrypt/1");
        rfhe_json_array(&b.j, "requests");
    }
    const rfhe_status st = work(&b, &err);
    if (st != RFHE_OK) { return rfhe_cli_fail(cli, st, &err); }
    if (cli->json) {
        rfhe_json_end_array(&b.j);
        rfhe_json_integer(&b.j, "images", (int64_t)b.count);
        rfhe_json_number(&b.j, "seconds", b.seconds);
        rfhe_json_end_object(&b.j);
    }
    return rfhe_cli_finish(cli);
}

const rfhe_command rfhe_cmd_encrypt = {
    .name = "encrypt",
    .usage = "PROGRAM IMAGE... | PROGRAM --data SPEC [--limit N] [options]",
    .summary = "encrypt images as requests to the server",
    .description = "Normalises each image as the program's metadata says, lays it out and encrypts it with the secret key in "
                   "PROGRAM/client. IMAGE.request is what goes to the server; client/requests remembers it, so that its reply can be told "
                   "from others.",
    .example = "rfhe encrypt net.program cat.png -o outbox\nrfhe encrypt net.program --data cifar10:DIR --limit 10 -o outbox",
    .options = options,
    .min_args = 1,
    .max_args = 4096,
    .run = run,
};
