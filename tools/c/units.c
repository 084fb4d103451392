/* Units of a diagonal network: whether parameter i is of l (0), W (1), V (2) or b (3). */
static int32_t group(int32_t i)
{
    i -= SHORELINE_UNITS * SHORELINE_ROWS;
    return i < 0 ? 1 : i < SHORELINE_UNITS ? 0 : i < 2 * SHORELINE_UNITS ? 3 : 2;
}

static void lay_out(shoreline_state *s)
{
    (void)s; /* an image writes all that it reads */
}
