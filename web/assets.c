/*
 * assets.c -- the page, compressed, inside the program. web/assets/ holds the built files; the sources
 * and how they are built are in web/ui/.
 */
#include "web/web_internal.h"

#include "base/hash.h"
#include "base/text.h"

#define ASSET(symbol, file)                                                                        \
	__asm__(".pushsection .rodata\n"                                                           \
		".balign 16\n"                                                                     \
		".globl web_asset_" #symbol "\n.hidden web_asset_" #symbol "\n"                    \
		"web_asset_" #symbol ":\n.incbin \"web/assets/" file "\"\n"                        \
		".globl web_asset_" #symbol "_end\n.hidden web_asset_" #symbol "_end\n"            \
		"web_asset_" #symbol "_end:\n.popsection\n");                                      \
	extern const uint8_t web_asset_##symbol[], web_asset_##symbol##_end[]

ASSET(index, "index.html.gz");
ASSET(app_js, "app.js.gz");
ASSET(app_css, "app.css.gz");
ASSET(icon, "icon.svg.gz");

static struct asset list[] = {
	{ .path = "/", .type = "text/html; charset=utf-8" },
	{ .path = "/app.js", .type = "text/javascript; charset=utf-8" },
	{ .path = "/app.css", .type = "text/css; charset=utf-8" },
	{ .path = "/icon.svg", .type = "image/svg+xml" },
};

/* A strong tag is 16 bytes of the hash of what is sent. */
static void tag(struct asset *a)
{
	uint8_t hash[HASH_BYTES];
	char hex[33];

	sha256(a->gzipped, hash);
	hex_encode(bytes_of(hash, 16), hex);
	snprintf(a->tag, sizeof a->tag, "\"%s\"", hex);
}

void assets_init(void)
{
	list[0].gzipped = bytes_of(web_asset_index, (size_t)(web_asset_index_end - web_asset_index));
	list[1].gzipped = bytes_of(web_asset_app_js, (size_t)(web_asset_app_js_end - web_asset_app_js));
	list[2].gzipped = bytes_of(web_asset_app_css, (size_t)(web_asset_app_css_end - web_asset_app_css));
	list[3].gzipped = bytes_of(web_asset_icon, (size_t)(web_asset_icon_end - web_asset_icon));
	for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
		tag(&list[i]);
}

const struct asset *asset_find(struct bytes path)
{
	for (size_t i = 0; i < sizeof list / sizeof list[0]; i++)
		if (bytes_eq(path, bytes_str(list[i].path)))
			return &list[i];
	return NULL;
}
