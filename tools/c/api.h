/* All there is: in the caller's memory, of one size, never moved, nothing allocated. What may be of use by itself:
 * w, the parameters in Q26, and step; together they are all there is to save. */
typedef struct {
    int32_t @STATE@;
    uint32_t step;         /* training steps so far */
    int32_t arrived, done; /* rows of the image that are there, and those that the forward sweep has seen */
} shoreline_state;

/* A learning rate: multiplier * 2^-shift; 0 <= multiplier <= 32767, 14 <= shift <= 40. */
typedef struct {
    int32_t multiplier, shift;
} shoreline_rate;

/* Begin with the parameters, step counter, bounds and learning rates that were exported. Call this first. */
void shoreline_init(shoreline_state *s);

/* Take other parameters (SHORELINE_W words, as in s->w, clipped to their bounds) and the step that belongs to them. */
void shoreline_load(shoreline_state *s, const int32_t *w, uint32_t step);

/* Learning rates of l, of wL and wT (W), of b, and of V, from the next image on; only a diagonal network has a V.
 * Returns 0, or -1 and leaves the rates alone if one is out of its range. */
int32_t shoreline_set_rates(shoreline_state *s, shoreline_rate l, shoreline_rate w, shoreline_rate b, shoreline_rate v);

/* Take the next row of an image, SHORELINE_ROWS pixels; a row after a whole image begins the next one. Returns how many
 * rows are still to come. */
int32_t shoreline_row(shoreline_state *s, const uint8_t *pixels);

/* Forget the rows that have arrived. */
void shoreline_begin(shoreline_state *s);

/* The class of the image, 0 to SHORELINE_COLS - 1; -1 if rows are missing. Parameters stay; learn() may follow. */
int32_t shoreline_classify(shoreline_state *s);

/* One training step. Returns the class that was predicted before it; -1 if rows are missing or there is no such label:
 * then nothing has changed. */
int32_t shoreline_learn(shoreline_state *s, int32_t label);

/* CRC-32 of parameters and step: equal digests, equal runs. */
uint32_t shoreline_digest(const shoreline_state *s);
