void shoreline_begin(shoreline_state *s)
{
    s->arrived = s->done = 0;
}

void shoreline_load(shoreline_state *s, const int32_t *w, uint32_t step)
{
    int32_t i;

    for (i = 0; i < SHORELINE_W; i++) {
        const int32_t *rule = s->rule + 4 * group(i);
        const int32_t low = rule[2], high = rule[3];

        s->w[i] = w[i] < low ? low : w[i] > high ? high : w[i];
    }
    s->step = step;
    shoreline_begin(s);
    derive_all(s);
}

void shoreline_init(shoreline_state *s)
{
    int32_t i;

    lay_out(s);
    for (i = 0; i < SHORELINE_RULE; i++)
        s->rule[i] = RULE[i];
    shoreline_load(s, PARAMETERS, STEP);
}

static int32_t fits(shoreline_rate rate)
{
    return rate.multiplier >= 0 && rate.multiplier <= 32767 && rate.shift >= 14 && rate.shift <= 40;
}

int32_t shoreline_set_rates(shoreline_state *s, shoreline_rate l, shoreline_rate w, shoreline_rate b, shoreline_rate v)
{
    const shoreline_rate rates[4] = {l, w, b, v};
    int32_t k;

    if (!fits(l) || !fits(w) || !fits(b) || !fits(v))
        return -1;
    for (k = 0; k < 4; k++) {
        s->rule[4 * k] = rates[RATE_OF[k]].multiplier;
        s->rule[4 * k + 1] = rates[RATE_OF[k]].shift;
    }
    return 0;
}

int32_t shoreline_row(shoreline_state *s, const uint8_t *pixels)
{
    if (s->arrived == SHORELINE_STEPS)
        shoreline_begin(s);
    take(s, pixels);
    s->arrived++;
    return SHORELINE_STEPS - s->arrived;
}

int32_t shoreline_classify(shoreline_state *s)
{
    int32_t prediction;

    if (s->arrived != SHORELINE_STEPS)
        return -1;
    classify(s, &prediction);
    s->done = s->arrived;
    return prediction;
}

int32_t shoreline_learn(shoreline_state *s, int32_t label)
{
    int32_t prediction;

    if (label < 0 || label >= SHORELINE_COLS)
        return -1;
    prediction = shoreline_classify(s);
    if (prediction < 0)
        return -1;
    learn(s, label);
    s->step++;
    shoreline_begin(s); /* h holds messages now */
    return prediction;
}

static uint32_t crc32_of(uint32_t crc, uint32_t word)
{
    int32_t k;

    crc ^= word; /* its least significant byte first */
    for (k = 0; k < 32; k++)
        crc = crc >> 1 ^ (crc & 1u ? 0xEDB88320u : 0u);
    return crc;
}

uint32_t shoreline_digest(const shoreline_state *s)
{
    uint32_t crc = 0xFFFFFFFFu;
    int32_t i;

    for (i = 0; i < SHORELINE_W; i++)
        crc = crc32_of(crc, U(s->w[i]));
    return ~crc32_of(crc, s->step);
}
