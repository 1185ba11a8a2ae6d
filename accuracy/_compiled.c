/* The tally of `accuracy/tally.py`, the sums and projections of `accuracy/structure.py` and the split of
 * `accuracy/decomposition.py`, each in one pass over a comparison. What they are is said there, in numpy: both give the
 * same bits.
 *
 * No result depends on the processor or the compiler: sums are taken in LANES lanes, each in the order of its elements,
 * and the build forbids contracted operations and never asks for fast arithmetic.
 */

#define Py_LIMITED_API 0x030B0000
#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <float.h>
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#if defined(__x86_64__) && defined(__GNUC__)
#define WIDER /* vectors of four, where the processor has them */
#include <immintrin.h>
#elif defined(__SSE2__)
#include <emmintrin.h>
#endif

#define LANES 8   /* as in accuracy/tally.py */
#define KEPT 8    /* as in accuracy/tally.py */
#define SHIFT 18  /* as in accuracy/histogram.py */
#define BINS (1 << (31 - SHIFT))
#define INFINITY_BIN (0x7F800000 >> SHIFT)
#define GROUP 64  /* bins that are looked at together */
#define CHUNK 128 /* elements whose quotients are kept at once, in a few kilobytes: a multiple of LANES */
#define ARRAYS 4

enum { MAGNITUDE, TOTAL, ENERGY, CROSS, SIGNAL, SPREAD, SUMS };
enum { LARGEST, RELATIVE, RATIO, KAPPA, ULPS, MAXIMA };
enum { ERRORS, RELATIVES, RATIOS, HISTOGRAMS };

static const double shares[] = {0.5, 0.99}; /* as in accuracy/tally.py */
enum { SHARES = sizeof shares / sizeof *shares };

/* Sums over the rows of e·y, (e·y)², y², e and e², for each of the columns. */
enum { BY_COLUMN = 5 };
/* Sums over the columns of the first three, for each of the rows. */
enum { BY_ROW = 3 };

/* Sums of e·p, (e·p)² and p², for each part of what is expected. */
enum { BY_PART = 3 };

/* What was seen, the float64 product of the decoded operands, and the value of the layer that is replaced. */
enum { SEEN, ORACLE, REPLACED, PARTS };
/* Energies of the total error and of its two terms. */
enum { TOTAL_ENERGY, COMPUTE_ENERGY, QUANTIZATION_ENERGY, ENERGIES };
/* How far the terms are from adding up to the total, and the largest value that enters. */
enum { APART, ENTERING, EXTENTS };

typedef double Sums[SUMS][LANES];

typedef struct {
    double ratio;
    Py_ssize_t place;
} Worst;

typedef struct {
    double below;    /* the magnitude that expected values must not reach */
    double smallest; /* the smallest normal number of the dtype */
    int mantissa;    /* bits of its mantissa */
} Terms;

typedef struct {
    double sums[SUMS];
    double maxima[MAXIMA][LANES];
    Worst worst[KEPT];
    int kept;
    uint32_t exact, counted;           /* elements in chunks without an error, which are all in bin 0, and in others */
    uint32_t counts[HISTOGRAMS][BINS]; /* of the others; last, and all 0 between two tallies */
} Tally;

/* The inner loops, which `_kernels.h` has for each width. */
typedef struct {
    int (*differ)(const double *one, const double *other);
    int (*add_exact)(Sums *sums, const double *expected, const Terms *terms);
    int (*add)(Tally *tally, Sums *sums, const double *const from[ARRAYS], int number, Py_ssize_t begin,
               const Terms *terms);
    void (*add_row)(const double *error, const double *expected, int64_t columns, double *const by_column[BY_COLUMN],
                    double by_row[BY_ROW]);
    int (*split)(double sums[ENERGIES][LANES], double extents[EXTENTS][LANES], const double *const from[PARTS],
                 int *uncertain);
    void (*project)(double sums[BY_PART][LANES], const double *error, const float *part);
} Kernels;

/* NaN ranks as an infinity. */
static inline double rank(double ratio)
{
    return isnan(ratio) ? INFINITY : ratio;
}

/* What an element must exceed to be one of the worst; of equal ones the first stay. */
static inline double least_of(const Tally *tally)
{
    return tally->kept < KEPT ? 0.0 : rank(tally->worst[KEPT - 1].ratio);
}

static void keep(Tally *tally, double ratio, Py_ssize_t place)
{
    if (!(rank(ratio) > least_of(tally)))
        return;
    int at = tally->kept < KEPT ? tally->kept++ : KEPT - 1;
    for (; at > 0 && rank(tally->worst[at - 1].ratio) < rank(ratio); at--)
        tally->worst[at] = tally->worst[at - 1];
    tally->worst[at] = (Worst){ratio, place};
}

/* Lanes to one sum: the second half of them on the first, until one is left. */
static double folded(const double sum[LANES])
{
    double lanes[LANES];
    memcpy(lanes, sum, sizeof lanes);
    for (int half = LANES / 2; half > 0; half /= 2)
        for (int lane = 0; lane < half; lane++)
            lanes[lane] += lanes[lane + half];
    return lanes[0];
}

/* Registers of any 64-bit processor hold two elements. */
#define WIDTH 2
#define NAMED(name) name##_of_two
#define TARGET
#ifdef __SSE2__
#define LARGER(one, other) _mm_max_pd(one, other) /* no compiler finds it without being told that there is no NaN */
#else
#define LARGER(one, other) ((Vector)(((one > other) & (Bits)one) | (~(one > other) & (Bits)other)))
#endif
#include "_kernels.h"
#undef WIDTH
#undef NAMED
#undef TARGET
#undef LARGER

#ifdef WIDER
#define WIDTH 4
#define NAMED(name) name##_of_four
#define TARGET __attribute__((target("avx2")))
#define LARGER(one, other) _mm256_max_pd(one, other)
#include "_kernels.h"
#undef WIDTH
#undef NAMED
#undef TARGET
#undef LARGER
#endif

static const Kernels *kernels = &kernels_of_two;

static const Kernels *widest(void)
{
#ifdef WIDER
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx2"))
        return &kernels_of_four;
#endif
    return &kernels_of_two;
}

/* The elements from `begin` to `end`, whose sums are added up before they join those before. Whether all is ordinary. */
static int add_block(Tally *tally, const double *const arrays[ARRAYS], Py_ssize_t begin, Py_ssize_t end,
                     const Terms *terms)
{
    Sums sums = {{0.0}};
    for (Py_ssize_t place = begin; place < end; place += CHUNK) {
        const int number = end - place < CHUNK ? (int)(end - place) : CHUNK;
        const double *from[ARRAYS] = {arrays[0] + place, arrays[1] + place, arrays[2] + place, arrays[3] + place};
        double filled[ARRAYS][CHUNK];
        if (number < CHUNK) {
            memset(filled, 0, sizeof filled);
            for (int array = 0; array < ARRAYS; array++) {
                memcpy(filled[array], from[array], sizeof(double) * (size_t)number);
                from[array] = filled[array];
            }
        }
        if (kernels->differ(from[0], from[1])) {
            if (!kernels->add(tally, &sums, from, number, place, terms))
                return 0;
            tally->counted += (uint32_t)number;
            continue;
        }
        if (!kernels->add_exact(&sums, from[1], terms))
            return 0;
        tally->exact += (uint32_t)number;
    }
    for (int sum = 0; sum < SUMS; sum++)
        tally->sums[sum] += folded(sums[sum]);
    return 1;
}

/* A histogram as pairs of a bin and how often it is met. */
typedef struct {
    int64_t bins[BINS], numbers[BINS];
    Py_ssize_t occupied;
} Pairs;

/* The bins that are occupied; the counts are 0 then. */
static void take(Pairs *pairs, Tally *tally, int which)
{
    uint32_t *counts = tally->counts[which];
    pairs->occupied = 0;
    counts[0] += tally->exact;
    for (int group = 0; group < (tally->counted ? BINS : GROUP); group += GROUP) {
        uint32_t seen = 0;
        for (int i = 0; i < GROUP; i++)
            seen |= counts[group + i];
        for (int i = group; seen && i < group + GROUP; i++)
            if (counts[i]) {
                pairs->bins[pairs->occupied] = i;
                pairs->numbers[pairs->occupied++] = counts[i];
                counts[i] = 0;
            }
    }
}

/* The middle of a bin, as `centre` in accuracy/histogram.py. */
static double centre(int64_t bin)
{
    uint32_t bits = (uint32_t)bin << SHIFT;
    float value;
    if (bin > 0 && bin < INFINITY_BIN)
        bits |= 1u << (SHIFT - 1);
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* As `quantiles` in accuracy/histogram.py, of a histogram with mass. */
static void quantiles(double found[SHARES], const Pairs *pairs)
{
    int64_t all = 0;
    for (Py_ssize_t at = 0; at < pairs->occupied; at++)
        all += pairs->numbers[at];
    for (int share = 0; share < SHARES; share++) {
        const double needed = fmax(1.0, ceil(shares[share] * (double)all));
        int64_t reached = 0;
        Py_ssize_t at = 0;
        while (at < pairs->occupied - 1 && (double)(reached += pairs->numbers[at]) < needed)
            at++;
        found[share] = centre(pairs->bins[at]);
    }
}

/* Bins and numbers, int64, as two bytearrays. */
static PyObject *histogram(const Pairs *pairs)
{
    const Py_ssize_t size = pairs->occupied * (Py_ssize_t)sizeof(int64_t);
    PyObject *first = PyByteArray_FromStringAndSize((const char *)pairs->bins, size);
    PyObject *second = PyByteArray_FromStringAndSize((const char *)pairs->numbers, size);
    PyObject *both = first && second ? PyTuple_Pack(2, first, second) : NULL;
    Py_XDECREF(first);
    Py_XDECREF(second);
    return both;
}

static double largest(const double lanes[LANES])
{
    double found = 0.0;
    for (int lane = 0; lane < LANES && !isnan(found); lane++)
        if (!(lanes[lane] <= found))
            found = lanes[lane];
    return found;
}

static PyObject *answer(Tally *tally)
{
    static Pairs pairs[HISTOGRAMS]; /* whoever is here holds the lock of the interpreter */
    double of_errors[SHARES], of_relatives[SHARES];
    const double *sums = tally->sums;
    double maxima[MAXIMA];
    for (int maximum = 0; maximum < MAXIMA; maximum++)
        maxima[maximum] = largest(tally->maxima[maximum]);
    PyObject *worst = PyTuple_New(tally->kept);
    for (int at = 0; worst && at < tally->kept; at++) {
        PyObject *pair = Py_BuildValue("(dn)", tally->worst[at].ratio, tally->worst[at].place);
        if (!pair || PyTuple_SetItem(worst, at, pair) < 0)
            Py_CLEAR(worst);
    }
    if (!worst)
        return NULL;
    for (int which = 0; which < HISTOGRAMS; which++)
        take(&pairs[which], tally, which);
    quantiles(of_errors, &pairs[ERRORS]);
    quantiles(of_relatives, &pairs[RELATIVES]);
    /* "N" takes what it is given, and makes nothing where one of them is NULL. */
    return Py_BuildValue("((dddddd)(ddddd)(dddd)NNN)", sums[MAGNITUDE], sums[TOTAL], sums[ENERGY], sums[CROSS],
                         sums[SIGNAL], sums[SPREAD], maxima[LARGEST], maxima[RELATIVE], maxima[RATIO], maxima[KAPPA],
                         maxima[ULPS], of_errors[0], of_errors[1], of_relatives[0], of_relatives[1],
                         histogram(&pairs[ERRORS]), histogram(&pairs[RATIOS]), worst);
}

/* The elements of a buffer, which holds one dimension of floats of `bits` without gaps; else an exception. */
static const void *floats(PyObject *object, Py_buffer *view, int bits)
{
    const Py_ssize_t bytes = bits / 8;
    if (PyObject_GetBuffer(object, view, PyBUF_FORMAT | PyBUF_STRIDES) < 0)
        return NULL;
    if (view->ndim == 1 && view->format && !strcmp(view->format, bits == 64 ? "d" : "f") && view->itemsize == bytes &&
        (view->shape[0] < 2 || view->strides[0] == bytes) && (uintptr_t)view->buf % (uintptr_t)bytes == 0)
        return view->buf;
    PyErr_Format(PyExc_ValueError, "an array of %d dimensions and format %s; one of float%d without gaps is wanted",
                 view->ndim, view->format ? view->format : "B", bits);
    PyBuffer_Release(view);
    return NULL;
}

static const double *elements(PyObject *object, Py_buffer *view)
{
    return floats(object, view, 64);
}

static PyObject *tally_of(PyObject *module, PyObject *args)
{
    PyObject *objects[ARRAYS], *told = NULL;
    Py_buffer views[ARRAYS];
    const double *arrays[ARRAYS];
    Terms terms;
    Py_ssize_t block;
    int held = 0;
    static Tally tally; /* whoever is here holds the lock of the interpreter */
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOddin:tally", &objects[0], &objects[1], &objects[2], &objects[3], &terms.below,
                          &terms.smallest, &terms.mantissa, &block))
        return NULL;
    for (; held < ARRAYS; held++) {
        arrays[held] = elements(objects[held], &views[held]);
        if (!arrays[held])
            goto end;
    }
    const Py_ssize_t size = views[0].shape[0];
    for (int other = 1; other < ARRAYS; other++)
        if (views[other].shape[0] != size) {
            PyErr_Format(PyExc_ValueError, "arrays of %zd and %zd elements; equal lengths are wanted", size,
                         views[other].shape[0]);
            goto end;
        }
    if (!(terms.smallest >= DBL_MIN) || terms.mantissa < 0 || terms.mantissa >= DBL_MANT_DIG) {
        PyErr_Format(PyExc_ValueError, "%d bits of mantissa; a dtype that float64 holds is wanted", terms.mantissa);
        goto end;
    }
    if (block < 1 || (uint64_t)size > UINT32_MAX) {
        PyErr_Format(PyExc_ValueError, "%zd elements in blocks of %zd; fewer than 2**32, in blocks of 1 or more, are wanted",
                     size, block);
        goto end;
    }
    memset(&tally, 0, offsetof(Tally, counts));
    int ordinary = 1;
    for (Py_ssize_t begin = 0, left = size; ordinary && left > 0;) {
        const Py_ssize_t taken = left < block ? left : block;
        ordinary = add_block(&tally, arrays, begin, begin + taken, &terms);
        begin += taken;
        left -= taken;
    }
    told = ordinary ? answer(&tally) : Py_NewRef(Py_None);
    if (!told || !ordinary)
        memset(tally.counts, 0, sizeof tally.counts);
end:
    while (held > 0)
        PyBuffer_Release(&views[--held]);
    return told;
}

static PyObject *sums_of(PyObject *module, PyObject *args)
{
    PyObject *objects[2], *told = NULL;
    Py_buffer views[2];
    const double *arrays[2];
    Py_ssize_t columns;
    int held = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOn:sums", &objects[0], &objects[1], &columns))
        return NULL;
    for (; held < 2; held++) {
        arrays[held] = elements(objects[held], &views[held]);
        if (!arrays[held])
            goto end;
    }
    const Py_ssize_t size = views[0].shape[0];
    if (views[1].shape[0] != size || columns < 1 || size % columns || size > PY_SSIZE_T_MAX / 64) {
        PyErr_Format(PyExc_ValueError, "arrays of %zd and %zd elements for %zd columns; whole rows of both are wanted",
                     size, views[1].shape[0], columns);
        goto end;
    }
    const Py_ssize_t rows = size / columns, numbers = BY_COLUMN * columns + BY_ROW * rows;
    double *sums = PyMem_Calloc((size_t)numbers, sizeof(double));
    if (!sums) {
        PyErr_NoMemory();
        goto end;
    }
    double *by_column[BY_COLUMN], *by_row = sums + BY_COLUMN * columns;
    for (int sum = 0; sum < BY_COLUMN; sum++)
        by_column[sum] = sums + sum * columns;
    for (Py_ssize_t row = 0; row < rows; row++) {
        double found[BY_ROW];
        kernels->add_row(arrays[0] + row * columns, arrays[1] + row * columns, columns, by_column, found);
        for (int sum = 0; sum < BY_ROW; sum++)
            by_row[sum * rows + row] = found[sum];
    }
    told = PyByteArray_FromStringAndSize((const char *)sums, numbers * (Py_ssize_t)sizeof(double));
    PyMem_Free(sums);
end:
    while (held > 0)
        PyBuffer_Release(&views[--held]);
    return told;
}

/* The three sums of one part, of as many elements as the error. */
static void project(double found[BY_PART], const double *error, const float *part, Py_ssize_t size)
{
    double sums[BY_PART][LANES] = {{0.0}};
    Py_ssize_t place = 0;
    for (; place <= size - CHUNK; place += CHUNK)
        kernels->project(sums, error + place, part + place);
    double last_error[CHUNK] = {0.0};
    float last_part[CHUNK] = {0.0F};
    memcpy(last_error, error + place, sizeof(double) * (size_t)(size - place));
    memcpy(last_part, part + place, sizeof(float) * (size_t)(size - place));
    kernels->project(sums, last_error, last_part);
    for (int sum = 0; sum < BY_PART; sum++)
        found[sum] = folded(sums[sum]);
}

static PyObject *projected_on(PyObject *module, PyObject *args)
{
    PyObject *error, *parts, *told = NULL;
    Py_buffer errors, all;
    (void)module;
    if (!PyArg_ParseTuple(args, "OO:projected", &error, &parts))
        return NULL;
    const double *first = elements(error, &errors);
    if (!first)
        return NULL;
    const float *second = floats(parts, &all, 32);
    if (!second)
        goto end;
    const Py_ssize_t size = errors.shape[0], number = size ? all.shape[0] / size : 0;
    if (!size || number * size != all.shape[0]) {
        PyErr_Format(PyExc_ValueError, "arrays of %zd and %zd elements; parts as long as the error are wanted", size,
                     all.shape[0]);
        goto both;
    }
    told = PyByteArray_FromStringAndSize(NULL, number * BY_PART * (Py_ssize_t)sizeof(double));
    char *into = told ? PyByteArray_AsString(told) : NULL;
    for (Py_ssize_t part = 0; into && part < number; part++) {
        double found[BY_PART];
        project(found, first, second + part * size, size);
        memcpy(into + part * (Py_ssize_t)sizeof found, found, sizeof found);
    }
both:
    PyBuffer_Release(&all);
end:
    PyBuffer_Release(&errors);
    return told;
}

/* The elements from `begin` to `end`, as in `add_block`. Whether all are finite. */
static int split_block(double energies[ENERGIES], double extents[EXTENTS][LANES], const double *const arrays[PARTS],
                       Py_ssize_t begin, Py_ssize_t end)
{
    double sums[ENERGIES][LANES] = {{0.0}};
    int finite = 1, uncertain = 0;
    for (Py_ssize_t place = begin; place < end; place += CHUNK) {
        const Py_ssize_t number = end - place < CHUNK ? end - place : CHUNK;
        const double *from[PARTS] = {arrays[SEEN] + place, arrays[ORACLE] + place, arrays[REPLACED] + place};
        double filled[PARTS][CHUNK];
        if (number < CHUNK) {
            memset(filled, 0, sizeof filled);
            for (int part = 0; part < PARTS; part++) {
                memcpy(filled[part], from[part], sizeof(double) * (size_t)number);
                from[part] = filled[part];
            }
        }
        finite &= kernels->split(sums, extents, from, &uncertain);
    }
    if (uncertain) /* as in `add` */
        extents[APART][0] = NAN;
    for (int sum = 0; sum < ENERGIES; sum++)
        energies[sum] += folded(sums[sum]);
    return finite;
}

static PyObject *split_of(PyObject *module, PyObject *args)
{
    PyObject *objects[PARTS], *told = NULL;
    Py_buffer views[PARTS];
    const double *arrays[PARTS];
    Py_ssize_t block;
    int held = 0, finite = 1;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOn:split", &objects[SEEN], &objects[ORACLE], &objects[REPLACED], &block))
        return NULL;
    for (; held < PARTS; held++) {
        arrays[held] = elements(objects[held], &views[held]);
        if (!arrays[held])
            goto end;
    }
    const Py_ssize_t size = views[SEEN].shape[0];
    if (views[ORACLE].shape[0] != size || views[REPLACED].shape[0] != size || block < 1) {
        PyErr_Format(PyExc_ValueError, "arrays of %zd, %zd and %zd elements in blocks of %zd; equal lengths are wanted",
                     size, views[ORACLE].shape[0], views[REPLACED].shape[0], block);
        goto end;
    }
    double energies[ENERGIES] = {0.0};
    double extents[EXTENTS][LANES] = {{0.0}};
    for (Py_ssize_t begin = 0, left = size; finite && left > 0;) {
        const Py_ssize_t taken = left < block ? left : block;
        finite = split_block(energies, extents, arrays, begin, begin + taken);
        begin += taken;
        left -= taken;
    }
    told = finite ? Py_BuildValue("ddddd", energies[TOTAL_ENERGY], energies[COMPUTE_ENERGY],
                                  energies[QUANTIZATION_ENERGY], largest(extents[APART]), largest(extents[ENTERING]))
                  : Py_NewRef(Py_None);
end:
    while (held > 0)
        PyBuffer_Release(&views[--held]);
    return told;
}

/* Chooses the width of vectors, 2 or 4, and says which it is: the widest there is, unless a narrower one is asked for. */
static PyObject *width_of(PyObject *module, PyObject *args)
{
    int most = 4;
    (void)module;
    if (!PyArg_ParseTuple(args, "|i:width", &most))
        return NULL;
    kernels = most < 4 ? &kernels_of_two : widest();
    return PyLong_FromLong(kernels == &kernels_of_two ? 2 : 4);
}

static PyMethodDef methods[] = {
    {"tally", tally_of, METH_VARARGS, "Sums, maxima, quantiles, two histograms and the worst, in the order of `tally.of`."},
    {"sums", sums_of, METH_VARARGS, "Of e·y, (e·y)², y², e and e² by column, then of the first three by row, float64."},
    {"projected", projected_on, METH_VARARGS, "Of e·p, (e·p)² and p² for each part p that an error e may hold, float64."},
    {"split", split_of, METH_VARARGS, "Energies and extents of a total error and its terms, in the order of `Split`."},
    {"width", width_of, METH_VARARGS, "Elements in a vector from now on: as many as the processor holds, at most those given."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT,
    .m_name = "accuracy._compiled",
    .m_doc = "What a comparison is in one pass.",
    .m_methods = methods,
};

PyMODINIT_FUNC PyInit__compiled(void)
{
    kernels = widest();
    return PyModuleDef_Init(&definition);
}
