/* Completions for bash, zsh and fish: commands, options and the words of an option that has choices; files elsewhere. */
#include "cli/document.h"

#include <string.h>

static bool is_last(const rfhe_opt *o)
{
    return o == NULL || o->kind == RFHE_OPT_END;
}

/* "a|b|c" as "a b c". */
static void words(rfhe_text *out, const char *choices)
{
    for (const char *c = choices; *c != '\0'; c++) {
        rfhe_text_add_bytes(out, *c == '|' ? " " : c, 1);
    }
}

/* The text with a backslash in front of each of `special`, and a single quote as `quote`. */
static void escaped(rfhe_text *out, const char *s, const char *special, const char *quote)
{
    for (; *s != '\0'; s++) {
        if (*s == '\'') {
            rfhe_text_add(out, quote);
            continue;
        }
        if (strchr(special, *s) != NULL) { rfhe_text_add(out, "\\"); }
        rfhe_text_add_bytes(out, s, 1);
    }
}

static void command_names(rfhe_text *out)
{
    for (size_t i = 0; rfhe_commands[i] != NULL; i++) {
        if (!rfhe_commands[i]->hidden) { rfhe_text_printf(out, "%s ", rfhe_commands[i]->name); }
    }
}

/* ---- bash ---- */

static void bash_choices(rfhe_text *out, const char *verb, const rfhe_opt *table)
{
    for (const rfhe_opt *o = table; !is_last(o); o++) {
        if (o->choices == NULL) { continue; }
        rfhe_text_printf(out, "    %s:--%s", verb, o->name);
        if (o->letter != 0) { rfhe_text_printf(out, "|%s:-%c", verb, o->letter); }
        rfhe_text_add(out, ") words='");
        words(out, o->choices);
        rfhe_text_add(out, "' ;;\n");
    }
}

static void bash_options(rfhe_text *out, const rfhe_opt *table)
{
    for (const rfhe_opt *o = table; !is_last(o); o++) { rfhe_text_printf(out, " --%s", o->name); }
}

void rfhe_document_bash(rfhe_text *out)
{
    rfhe_text_add(out, "# bash completion of rfhe, generated from its option tables\n"
                       "_rfhe() {\n"
                       "  local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]}\n"
                       "  local verb=${COMP_WORDS[1]} words='' options=''\n"
                       "  COMPREPLY=()\n"
                       "  if [ \"$COMP_CWORD\" -eq 1 ]; then\n    words='");
    command_names(out);
    rfhe_text_add(out, "help --help --version'\n"
                       "  else\n    case $verb:$prev in\n");
    for (size_t i = 0; rfhe_commands[i] != NULL; i++) {
        if (!rfhe_commands[i]->hidden) {
            bash_choices(out, rfhe_commands[i]->name, rfhe_commands[i]->options);
        }
    }
    bash_choices(out, "*", rfhe_common_options);
    rfhe_text_add(out, "    help:help) words='");
    command_names(out);
    rfhe_text_add(out, "' ;;\n    esac\n    case $verb in\n");
    for (size_t i = 0; rfhe_commands[i] != NULL; i++) {
        if (rfhe_commands[i]->hidden) { continue; }
        rfhe_text_printf(out, "    %s) options='", rfhe_commands[i]->name);
        bash_options(out, rfhe_commands[i]->options);
        rfhe_text_add(out, "' ;;\n");
    }
    rfhe_text_add(out, "    esac\n    options=\"$options");
    bash_options(out, rfhe_common_options);
    rfhe_text_add(
        out, "\"\n"
             "    if [ -z \"$words\" ] && [ \"${cur#-}\" != \"$cur\" ]; then words=$options; fi\n"
             "  fi\n"
             "  if [ -n \"$words\" ]; then\n"
             "    mapfile -t COMPREPLY < <(compgen -W \"$words\" -- \"$cur\")\n"
             "  else\n"
             "    compopt -o filenames 2>/dev/null\n"
             "    mapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
             "  fi\n"
             "}\n"
             "complete -F _rfhe rfhe\n");
}

/* ---- zsh ---- */

static void zsh_options(rfhe_text *out, const rfhe_opt *table)
{
    for (const rfhe_opt *o = table; !is_last(o); o++) {
        if (o->letter != 0) {
            rfhe_text_printf(out, " \\\n        '(-%c --%s)'{-%c,--%s}'[", o->letter, o->name,
                             o->letter, o->name);
        } else {
            rfhe_text_printf(out, " \\\n        '--%s[", o->name);
        }
        escaped(out, o->text, "[]:\\", "'\\''");
        rfhe_text_add(out, "]");
        if (o->value != NULL) {
            rfhe_text_add(out, ":");
            escaped(out, o->value, "[]:\\", "'\\''");
            rfhe_text_add(out, ":");
        }
        if (o->choices != NULL) {
            rfhe_text_add(out, "(");
            words(out, o->choices);
            rfhe_text_add(out, ")");
        } else if (o->kind == RFHE_OPT_TEXT) {
            rfhe_text_add(out, "_files");
        }
        rfhe_text_add(out, "'");
    }
}

void rfhe_document_zsh(rfhe_text *out)
{
    rfhe_text_add(out, "#compdef rfhe\n# zsh completion of rfhe, generated from its option tables\n"
                       "_rfhe() {\n"
                       "  local context state line\n  local -a verbs\n"
                       "  _arguments -C '1:command:->verb' '*::argument:->rest'\n"
                       "  case $state in\n  verb)\n    verbs=(\n");
    for (size_t i = 0; rfhe_commands[i] != NULL; i++) {
        if (rfhe_commands[i]->hidden) { continue; }
        rfhe_text_printf(out, "      '%s:", rfhe_commands[i]->name);
        escaped(out, rfhe_commands[i]->summary, ":\\", "'\\''");
        rfhe_text_add(out, "'\n");
    }
    rfhe_text_add(out,
                  "    )\n    _describe command verbs\n    ;;\n  rest)\n    case $words[1] in\n");
    for (size_t i = 0; rfhe_commands[i] != NULL; i++) {
        if (rfhe_commands[i]->hidden) { continue; }
        rfhe_text_printf(out, "    %s)\n      _arguments", rfhe_commands[i]->name);
        zsh_options(out, rfhe_commands[i]->options);
        zsh_options(out, rfhe_common_options);
        rfhe_text_add(out, " \\\n        '*:file:_files'\n      ;;\n");
    }
    rfhe_text_add(out, "    esac\n    ;;\n  esac\n}\n_rfhe \"$@\"\n");
}

/* ---- fish ---- */

static void fish_options(rfhe_text *out, const char *condition, const rfhe_opt *table)
{
    for (const rfhe_opt *o = table; !is_last(o); o++) {
        rfhe_text_printf(out, "complete -c rfhe -n '%s' -l %s", condition, o->name);
        if (o->letter != 0) { rfhe_text_printf(out, " -s %c", o->letter); }
        if (o->choices != NULL) {
            rfhe_text_add(out, " -x -a '");
            words(out, o->choices);
            rfhe_text_add(out, "'");
        } else if (o->kind != RFHE_OPT_FLAG) {
            rfhe_text_add(out, o->kind == RFHE_OPT_TEXT ? " -r" : " -x");
        }
        rfhe_text_add(out, " -d '");
        escaped(out, o->text, "\\", "\\'");
        rfhe_text_add(out, "'\n");
    }
}

void rfhe_document_fish(rfhe_text *out)
{
    rfhe_text_add(out, "# fish completion of rfhe, generated from its option tables\n");
    for (size_t i = 0; rfhe_commands[i] != NULL; i++) {
        const rfhe_command *c = rfhe_commands[i];
        rfhe_text condition = {0};
        if (c->hidden) { continue; }
        rfhe_text_printf(out, "complete -c rfhe -n __fish_use_subcommand -f -a %s -d '", c->name);
        escaped(out, c->summary, "\\", "\\'");
        rfhe_text_add(out, "'\n");
        rfhe_text_printf(&condition, "__fish_seen_subcommand_from %s", c->name);
        if (condition.failed) { out->failed = true; }
        if (condition.data != NULL) { fish_options(out, condition.data, c->options); }
        rfhe_text_clear(&condition);
    }
    fish_options(out, "not __fish_use_subcommand", rfhe_common_options);
}
