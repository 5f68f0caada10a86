"""The parts of the generated C that are the same for every policy."""

HEADER = """\
/* Policy {name}, weights {weights}. Generated; change the policy instead.
 *
 * Call policy_init once, then policy_step once per control period of {period} s. The first step
 * after policy_init begins an episode. Everything of an episode is in the carry; there is no other
 * state, so that any number of them may run.
 *
 * Signals, in SI units:
{signals}
 *
 * Commands:
{commands}
 */
#ifndef SIMREAL_POLICY_H
#define SIMREAL_POLICY_H

{sizes}

/* What the robot has to be, and its signals in the order above: compare before the first step. */
#define POLICY_PERIOD_S {period}
#define POLICY_INTERFACE_SHA256 "{interface}"
#define POLICY_SIGNAL_TABLE {table}

#ifdef __cplusplus
extern "C" {{
#endif

typedef struct {{
{carry}
}} policy_carry;

enum {{
    POLICY_OK = 0,
    POLICY_BAD_SIGNAL = 1, /* a signal is not finite; nothing was changed */
    POLICY_BAD_OUTPUT = 2  /* an output is not finite; command was not written */
}};

/* Begin an episode with the next step. */
void policy_init(policy_carry *carry);

/* Compute the commands of one control period; returns one of the codes above. */
int policy_step(policy_carry *carry, const double *signals, double *command);

#ifdef __cplusplus
}}
#endif

#endif
"""

SOURCE = """\
/* Policy {name}. Generated; change the policy instead.
 * C99. Do not compile with -ffast-math: it removes the tests for numbers that are not finite.
 */
#include "{header}"

#include <math.h>
#include <stdint.h>
#include <string.h>

{tables}

{functions}

void policy_init(policy_carry *carry)
{{
    memset(carry, 0, sizeof *carry);
}}

{step}
"""

ACTIVATION_CODE = {
    # Cody and Waite 1980: exp(x) = 2^n exp(r), r in [-ln 2 / 2, ln 2 / 2], here with the Taylor
    # polynomial of degree 7, whose remainder is below 6e-9. Adding 1.5 * 2^23 rounds to an integer
    # without a conversion, which would be undefined for NaN; NaN stays NaN.
    "exp": """\
static float exponential(float x)
{
    union { float f; uint32_t u; } bits;
    float n, r, p;
    x = x < -87.0f ? -87.0f : x > 88.0f ? 88.0f : x;
    bits.f = x * 1.44269504f + 12582912.0f;
    n = bits.f - 12582912.0f;
    r = x - n * 0.693359375f + n * 2.12194440e-4f;
    p = 1.98412698e-4f;
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    bits.u = (bits.u - 0x4B400000u + 127u) << 23;
    return p * bits.f;
}
""",
    "tanh": """\
static void tanh_all(float *restrict y, int n)
{
    int i;
    for (i = 0; i < n; ++i) {
        float x = y[i], s = x * x;
        float t = exponential(x < 0.0f ? x + x : -(x + x));
        float far = (1.0f - t) / (1.0f + t);
        float near = x * (1.0f + s * (-0.333333333f + s * 0.133333333f));
        far = x < 0.0f ? -far : far;
        y[i] = s < 0.0025f ? near : far;
    }
}
""",
    "elu": """\
static void elu_all(float *restrict y, int n)
{
    int i;
    for (i = 0; i < n; ++i) {
        float x = y[i];
        float below = exponential(x) - 1.0f;
        y[i] = x <= 0.0f ? below : x;
    }
}
""",
    "relu": """\
static void relu_all(float *restrict y, int n)
{
    int i;
    for (i = 0; i < n; ++i) y[i] = y[i] < 0.0f ? 0.0f : y[i]; /* NaN stays */
}
""",
    "wrapped": """\
static double wrapped(double x)
{
    const double pi = 3.141592653589793;
    double turn = fmod(x + pi, 2.0 * pi);
    return (turn < 0.0 ? turn + 2.0 * pi : turn) - pi;
}
""",
}

DENSE = """\
/* y = bias + x weight, four inputs at a time: y is then read and written a quarter as often. */
static void dense(const float *restrict x, float *restrict y, const float *restrict weight,
                  const float *restrict bias, int inputs, int outputs)
{
    int i, j;
    for (j = 0; j < outputs; ++j) y[j] = bias[j];
    for (i = 0; i + 4 <= inputs; i += 4) {
        const float a = x[i], b = x[i + 1], c = x[i + 2], d = x[i + 3];
        const float *w = weight + i * outputs;
        for (j = 0; j < outputs; ++j)
            y[j] += (a * w[j] + b * w[outputs + j])
                    + (c * w[2 * outputs + j] + d * w[3 * outputs + j]);
    }
    for (; i < inputs; ++i) {
        const float a = x[i];
        const float *w = weight + i * outputs;
        for (j = 0; j < outputs; ++j) y[j] += a * w[j];
    }
}
"""

LSTM = """\
/* One step of an LSTM: gates in the order input, forget, cell, output; logistic ones are halved. */
static void remember(const float *restrict x, float *restrict hidden, float *restrict cell)
{{
    float in[{inputs} + {hidden}], gates[4 * {hidden}];
    int i;
    for (i = 0; i < {inputs}; ++i) in[i] = x[i];
    for (i = 0; i < {hidden}; ++i) in[{inputs} + i] = hidden[i];
    dense(in, gates, lstm_weight, lstm_bias, {inputs} + {hidden}, 4 * {hidden});
    tanh_all(gates, 4 * {hidden});
    for (i = 0; i < {hidden}; ++i) {{
        float write = 0.5f + 0.5f * gates[i], keep = 0.5f + 0.5f * gates[{hidden} + i];
        cell[i] = keep * cell[i] + write * gates[2 * {hidden} + i];
        hidden[i] = cell[i];
    }}
    tanh_all(hidden, {hidden});
    for (i = 0; i < {hidden}; ++i) hidden[i] *= 0.5f + 0.5f * gates[3 * {hidden} + i];
}}
"""

STEP = """\
static void observe(policy_carry *carry, const double *signals)
{{
    enum {{ DEPTH = {depth}, WIDTH = {width} }};
    const int first = !carry->started[0];
    double x, *frame;
    int i, k;
    carry->newest[0] = first ? 0 : (carry->newest[0] + 1) % DEPTH;
    frame = carry->frames + carry->newest[0] * WIDTH;
{frame}
    (void)x;
    if (first)
        for (k = 1; k < DEPTH; ++k)
            for (i = 0; i < WIDTH; ++i)
                carry->frames[k * WIDTH + i] = frame_zero[i] ? 0.0 : frame[i];
    carry->started[0] = 1;
    for (i = 0; i < POLICY_OBSERVATION; ++i) {{
        k = (carry->newest[0] + DEPTH - entry_age[i]) % DEPTH;
        carry->observation[i] = (float)carry->frames[k * WIDTH + entry_column[i]];
    }}
}}

static void infer(policy_carry *carry)
{{
    int i;
{network}
}}

int policy_step(policy_carry *carry, const double *signals, double *command)
{{
    int i;
    for (i = 0; i < POLICY_SIGNALS; ++i)
        if (!isfinite(signals[i])) return POLICY_BAD_SIGNAL;
    observe(carry, signals);
    infer(carry);
    for (i = 0; i < POLICY_OUTPUTS; ++i) {{
        const float y = carry->output[i];
        if (!isfinite(y)) return POLICY_BAD_OUTPUT;
        carry->action[i] = y < -1.0f ? -1.0f : y > 1.0f ? 1.0f : y;
    }}
{idle}
{commands}
    return POLICY_OK;
}}
"""
