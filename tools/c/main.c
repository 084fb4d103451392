/* An example that learns from its standard input:
 *
 *     cc -std=c99 -O2 -o shoreline main.c shoreline.c && ./shoreline < records
 *
 * A record is an image, SHORELINE_STEPS rows of SHORELINE_ROWS bytes, and a byte with its label; label 255 is of an
 * image that is only classified. For each record a line: the label (or -) and the class that was predicted before
 * learning. The last line is "digest", the step counter and the digest. Exit code 0; 1 and a line on standard error if
 * a record is cut off or a label is none. */

#include <inttypes.h>
#include <stdio.h>

#include "shoreline.h"

enum { AREA = SHORELINE_STEPS * SHORELINE_ROWS, NO_LABEL = 255 };

int main(void)
{
    static shoreline_state state; /* too large for some stacks */
    static uint8_t record[AREA + 1];
    unsigned long number = 0;
    size_t got;

    shoreline_init(&state);
    while ((got = fread(record, 1, sizeof record, stdin)) == sizeof record) {
        const uint8_t label = record[AREA];
        int32_t t, prediction;

        for (t = 0; t < SHORELINE_STEPS; t++)
            shoreline_row(&state, record + t * SHORELINE_ROWS);
        number++;
        if (label == NO_LABEL) {
            printf("- %" PRId32 "\n", shoreline_classify(&state));
            continue;
        }
        prediction = shoreline_learn(&state, label);
        if (prediction < 0) {
            fprintf(stderr, "record %lu: label %u; labels are 0 to %d, or 255\n", number, (unsigned)label,
                    SHORELINE_COLS - 1);
            return 1;
        }
        printf("%u %" PRId32 "\n", (unsigned)label, prediction);
    }
    if (ferror(stdin) || got != 0) {
        fprintf(stderr, "record %lu: %lu bytes, not %lu; is its size another?\n", number + 1, (unsigned long)got,
                (unsigned long)sizeof record);
        return 1;
    }
    printf("digest %" PRIu32 " %08" PRIx32 "\n", state.step, shoreline_digest(&state));
    return ferror(stdout) || fflush(stdout) != 0;
}
