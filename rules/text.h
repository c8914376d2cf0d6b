/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Text from outside: its words, and its bytes made fit for a log line, a terminal
 * and JSON.
 */
#ifndef RULES_TEXT_H
#define RULES_TEXT_H

#include <stddef.h>

/**
 * text_escape() - copy bytes as printable ASCII
 * @buf:	receives the text and a NUL
 * @size:	of @buf, at least 8
 *
 * A byte outside 0x20..0x7e, a double quote and a backslash become \xNN. Text
 * that does not fit ends in "...", never inside an escape.
 *
 * Return: @buf.
 */
const char *text_escape(char *buf, size_t size, const char *bytes, size_t len);

/**
 * text_word() - the next word of a list separated by spaces
 * @rest:	what is left of the list (NULL: nothing); moved behind the word
 * @len:	receives its length
 *
 * Return: the word, not NUL terminated; NULL: there is none.
 */
const char *text_word(const char **rest, size_t *len);

#endif
