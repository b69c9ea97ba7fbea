/*
 * run.c -- `ironmesh run`: options, log, app, exit code.
 */
#include <malloc.h>
#include <sys/stat.h>

#include "base/json.h"
#include "base/text.h"
#include "daemon/app.h"
#include "daemon/daemon.h"

bool daemon_run_option(unsigned i, const char **name, const char **arg, const char **text)
{
	return run_option(i, name, arg, text);
}

static void print_json(const struct fault *f)
{
	char safe[3][sizeof(f->what)];
	struct buf b;
	json_t *v = json_pack("{s:s, s:{s:s, s:i, s:s, s:s, s:s}}", "schema", "ironmesh.error/1", "error", "err",
			      err_word(f->err), "exit", (int)f->code, "what",
			      text_safe(bytes_str(f->what), safe[0], sizeof(safe[0])), "means",
			      text_safe(bytes_str(f->means), safe[1], sizeof(safe[1])), "next",
			      text_safe(bytes_str(f->next), safe[2], sizeof(safe[2])));

	buf_init(&b, 16384);
	if (json_write(&b, v, JSON_INSERTION) == ERR_OK)
		printf("%s\n", buf_cstr(&b));
	buf_fini(&b);
	json_decref(v);
}

static int failed(const struct fault *f, bool json)
{
	char safe[sizeof(f->what)];

	fflush(stdout);
	fprintf(stderr, "ironmesh: %s\n", text_safe(bytes_str(f->what), safe, sizeof(safe)));
	if (f->means[0])
		fprintf(stderr, "  %s\n", text_safe(bytes_str(f->means), safe, sizeof(safe)));
	if (f->next[0])
		fprintf(stderr, "  next: %s\n", text_safe(bytes_str(f->next), safe, sizeof(safe)));
	if (json)
		print_json(f);
	return (int)f->code;
}

int daemon_run(const char *home, bool json, int argc, char **argv)
{
	struct config_sources from = { .home = home, .argc = argc, .argv = argv };
	struct run_config c;
	struct fault f = { .err = ERR_INTERNAL, .code = EXIT_GENERIC };
	enum err e;

	run_config_init(&c);
	c.json = json;
	e = run_config_load(&c, &from, &f);
	if (e == ERR_OK && c.help) {
		run_help(stdout);
	} else if (e == ERR_OK) {
		log_setup(&(struct log_config){ .level = c.log_level, .format = c.log_format });
		for (size_t i = 0; i < c.settings.problems_n; i++)
			log_warn("config-warning file=%s line=%u what=\"%s\"", c.settings.problems[i].file,
				 c.settings.problems[i].line, c.settings.problems[i].what);
		umask(077);
		/* Fixed limits: glibc would raise its own after the first large answer, and keep the memory. */
		mallopt(M_MMAP_THRESHOLD, 256 << 10);
		mallopt(M_TRIM_THRESHOLD, 512 << 10);
		e = walls_begin(c.walls, &f);
		if (e == ERR_OK)
			e = app_run(home, &c, &from, &f);
		log_flush();
	}
	run_config_fini(&c);
	if (e == ERR_OK)
		return EXIT_DONE;
	if (!f.what[0])
		fault_set(&f, e, EXIT_GENERIC, "the daemon failed: %s", err_word(e));
	return failed(&f, json);
}
