/* Two-input cells: which of l, wL, wT, b parameter i is, and who hears whom. */
static int32_t group(int32_t i)
{
    return i & 3;
}

static void lay_out(shoreline_state *s)
{
    int32_t i, k;

    for (i = 0; i < SHORELINE_H; i++)
        s->h[i] = 0; /* the null shoreline stays so */
    for (i = 0; i < SHORELINE_M; i++)
        s->m[i] = 0;
    for (i = 0; i < SHORELINE_CELLS; i++)
        for (k = 0; k < WIRES; k++)
            s->m[i * RECORD + k] = WIRING[i][k];
    for (i = 0; i < UNITS; i++)
        for (k = 0; k < FIELDS; k++)
            s->m[(SHORELINE_CELLS + i) * RECORD + k] = FIXED[i][k];
}
