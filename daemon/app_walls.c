/* What the daemon reaches once its walls stand, and how they stand. */
#include "daemon/app_internal.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/home.h"
#include "base/log.h"

/* One line for each path that is opened after the start. */
static void declare(struct app *a)
{
	struct walls *w = a->walls;
	char path[4096], *slash;
	bool shared;

	walls_write(w, a->home);
	/* The socket of the system service lies elsewhere, and is removed at the end. */
	if (home_socket(a->home, path, sizeof(path), &shared) == ERR_OK && shared && (slash = strrchr(path, '/')) != NULL) {
		*slash = '\0';
		walls_write(w, path);
	}
	walls_read(w, a->c->pinned_ca);
	if (a->keyproc)
		walls_key_process(w, keyproc_pid(a->keyproc), keyproc_status(a->keyproc));
	/* A reload reads again. The folder of the configuration, where editors put a new file in the place of the old one;
	 * of what lies elsewhere only the file, since its folder may hold what is nobody's business. */
	if (config_folder(a->home, path, sizeof(path)) == ERR_OK)
		walls_read(w, path);
	for (size_t i = 0; i < a->c->settings.files_n; i++)
		walls_read(w, a->c->settings.files[i]);
	for (size_t i = 0; i < a->c->settings.lists_n; i++)
		walls_read(w, a->c->settings.lists[i]);
	walls_write(w, a->c->backup_directory);
}

enum err app_raise_walls(struct app *a, struct fault *f)
{
	enum err e = walls_new(a->c->walls, &a->walls);

	if (e != ERR_OK)
		return fault_set(f, e, EXIT_GENERIC, "no memory for the walls");
	declare(a);
	e = walls_raise(a->walls, f);
	a->commands.info.walls = a->walls;
	return e;
}

/* Once, when all was tried: what an operator should know without asking. */
void app_warn_of_walls(struct app *a)
{
	struct wall_state s[WALLS];
	char list[160] = "";
	unsigned absent = 0;

	if (a->c->walls == WALLS_OFF) {
		app_warn(a, "no walls stand around this process (--walls off): who takes it over has what its user has");
		return;
	}
	walls_look(a->walls, s);
	for (int i = 0; i < WALLS; i++) {
		size_t n = strlen(list);

		if (s[i].standing != WALL_ABSENT)
			continue;
		snprintf(list + n, sizeof(list) - n, "%s%s", absent++ ? ", " : "", s[i].name);
	}
	if (absent)
		app_warn(a, "%u wall(s) could not be raised: %s", absent, list);
	else
		log_info("walls-up landlock=\"%s\"", s[WALL_LANDLOCK].detail);
}
