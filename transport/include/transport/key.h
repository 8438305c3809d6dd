/* key.h - the cluster key: 32 random bytes that every node of a cluster knows.
 *
 * In a file it is one line of text: 64 hexadecimal digits or 44 characters of base64,
 * with white space around it. A key file that group or others may read is refused, as a
 * key that others know protects nothing. Nothing here blocks but on the file itself; no
 * function keeps state. */
#ifndef TRANSPORT_KEY_H
#define TRANSPORT_KEY_H

#include <mobula.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEY_BYTES 32
#define KEY_TEXT_SIZE 45 /* base64 with the ending NUL */

struct key {
    uint8_t bytes[KEY_BYTES];
};

/* Reads the key in the file @path.
 * @allow_shared: true takes a file that group or others may read or write.
 * MOB_ERR_KEY: no such file, not readable, not private, or no key in it. The message
 * names the path and the fix. */
mob_status key_load(const char *path, bool allow_shared, struct key *ret);

/* Makes a new key and its file, mode 0600, unless there is one: then loads that. Two
 * processes that do so at once get the same key, and a crash leaves no half-written file
 * under @path. For heads only: another node's new key would fit nobody's. @ret_created
 * may be NULL. */
mob_status key_load_or_create(const char *path, struct key *ret, bool *ret_created);

/* Reads a key as text from @fd (standard input, a pipe) up to a newline or the end. */
mob_status key_read_fd(int fd, struct key *ret);

/* @size bytes of text, in either form, with white space around them. MOB_ERR_KEY. */
mob_status key_parse(const char *text, size_t size, struct key *ret);

/* Base64, for a person to carry to another node. Wipe it after use. Returns @text. */
char *key_text(const struct key *key, char text[KEY_TEXT_SIZE]);

/* Fresh random bytes. */
void key_generate(struct key *ret);

/* Overwrites @size bytes in a way that the compiler does not remove. */
void key_wipe(void *secret, size_t size);

#endif
