/* The totals of `accuracy/totals.py`. Included once, by `_compiled.c`. */

static const double shares[] = {0.5, 0.99}; /* as in accuracy/tally.py */
enum { SHARES = sizeof shares / sizeof *shares };

/* Columns of numbers, as `accuracy.case.Observation` has them. */
enum {
    ABS_MEAN, ABS_P50, ABS_P99, ABS_MAX, REL_P50, REL_P99, REL_MAX, REL_FRO,
    SQNR_DB, ULP_MAX, KAPPA_MAX, SLOPE, SLOPE_Z, MEAN_Z, WORST_RATIO, WORST_LIMIT, COLUMNS,
};
static const char *const column_texts[COLUMNS] = {
    "abs_mean", "abs_p50", "abs_p99", "abs_max", "rel_p50", "rel_p99", "rel_max", "rel_fro",
    "sqnr_db", "ulp_max", "kappa", "slope", "slope_z", "mean_z", "ratio", "limit",
};

/* What is told of one of the worst elements. */
enum { INDEX, ACTUAL, EXPECTED, LIMIT, RATIO_OF_ONE, TOLD };
static const char *const element_texts[TOLD] = {"index", "actual", "expected", "limit", "ratio"};

/* The elements from `begin` to `end`, whose sums are added up before they join those before. Whether all is ordinary. */
static int add_block(Tally *tally, const double *const arrays[ARRAYS], Py_ssize_t begin, Py_ssize_t end,
                     const Terms *terms)
{
    Sums sums = {{0.0}};
    for (Py_ssize_t place = begin; place < end; place += CHUNK) {
        const int number = end - place < CHUNK ? (int)(end - place) : CHUNK;
        const double *from[ARRAYS];
        double filled[ARRAYS][CHUNK];
        for (int array = 0; array < ARRAYS; array++)
            from[array] = chunk(arrays[array] + place, number, filled[array]);
        if (kernels->differ(from[0], from[1])) {
            if (!kernels->add(tally, &sums, from, number, place, terms))
                return 0;
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
    uint16_t bins[BINS];
    uint32_t numbers[BINS];
    Py_ssize_t occupied;
} Pairs;

static void take_one(Pairs *pairs, uint32_t *counts, uint32_t bin)
{
    if (!counts[bin])
        return;
    pairs->bins[pairs->occupied] = (uint16_t)bin;
    pairs->numbers[pairs->occupied++] = counts[bin];
    counts[bin] = 0;
}

/* The bin of a value, as `count` in accuracy/histogram.py has it; the last one of all for NaN. */
static uint32_t bin_of(double value)
{
    const float rounded = (float)value;
    uint32_t bits;
    memcpy(&bits, &rounded, sizeof bits);
    return isnan(value) ? BINS - 1 : bits >> SHIFT;
}

/* The smallest of lanes. */
static double smallest(const double lanes[LANES])
{
    double found = INFINITY;
    for (int lane = 0; lane < LANES; lane++)
        found = lanes[lane] < found ? lanes[lane] : found;
    return found;
}

/* The bins that are occupied; the counts are 0 then. Only those are looked at that may be: all of them would be a
 * hundred kilobytes, of which nothing is in the caches between two comparisons. */
static void take(Pairs *pairs, Tally *tally, int which)
{
    uint32_t *counts = tally->counts[which];
    pairs->occupied = 0;
    counts[0] += tally->exact;
    take_one(pairs, counts, 0);
    const uint32_t highest = bin_of(largest(tally->maxima[which]));
    for (uint32_t bin = bin_of(smallest(tally->minima[which])); bin <= highest; bin++)
        take_one(pairs, counts, bin);
}

/* The middle of a bin, as `centre` in accuracy/histogram.py. */
static double centre(uint32_t bin)
{
    uint32_t bits = bin << SHIFT;
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
    int64_t reached = pairs->numbers[0];
    Py_ssize_t at = 0;
    for (int share = 0; share < SHARES; share++) { /* the larger ones last */
        const int64_t needed = (int64_t)fmax(1.0, ceil(shares[share] * (double)all));
        while (reached < needed && at < pairs->occupied - 1)
            reached += pairs->numbers[++at];
        found[share] = centre(pairs->bins[at]);
    }
}

/* Bins, in 16 bits. */
static PyObject *bins_of(const Pairs *pairs)
{
    return PyBytes_FromStringAndSize((const char *)pairs->bins, pairs->occupied * (Py_ssize_t)sizeof *pairs->bins);
}

/* Numbers in 32 bits, or 16 where all elements are fewer than that. */
static PyObject *numbers_of(const Pairs *pairs, int narrow)
{
    const Py_ssize_t width = narrow ? sizeof(uint16_t) : sizeof(uint32_t);
    PyObject *bytes = PyBytes_FromStringAndSize((const char *)pairs->numbers, pairs->occupied * width);
    char *into = bytes ? PyBytes_AsString(bytes) : NULL;
    for (Py_ssize_t at = 0; into && narrow && at < pairs->occupied; at++) {
        const uint16_t number = (uint16_t)pairs->numbers[at];
        memcpy(into + at * width, &number, sizeof number);
    }
    return bytes;
}

/* Names of columns and of what is told of one element, as objects; in the order of what they name. */
static PyObject *names[COLUMNS], *bins_names[2], *counts_names[2], *element_names[TOLD];

/* Sets a number by name. Whether that went well. */
static int set(PyObject *in, PyObject *name, double value)
{
    PyObject *number = PyFloat_FromDouble(value);
    const int set = number && PyDict_SetItem(in, name, number) == 0;
    Py_XDECREF(number);
    return set;
}

/* Sets an object by name, and takes it. Whether there was one, and that went well. */
static int give(PyObject *in, PyObject *name, PyObject *object)
{
    const int set = object && PyDict_SetItem(in, name, object) == 0;
    Py_XDECREF(object);
    return set;
}

/* The columns of numbers, as `in_numpy` of accuracy/totals.py has them. */
static void statistics(double found[COLUMNS], const Tally *tally, const double *bound, Py_ssize_t size,
                       const Pairs pairs[HISTOGRAMS])
{
    const double *sums = tally->sums, energy = sums[ENERGY], signal = sums[SIGNAL];
    const int flat = signal == 0 || sums[SPREAD] == 0;
    const double relative = energy == 0 ? 0.0 : signal != 0 ? sqrt(energy / signal) : INFINITY;
    double of_errors[SHARES], of_relatives[SHARES];
    quantiles(of_errors, &pairs[ERRORS]);
    quantiles(of_relatives, &pairs[RELATIVES]);
    found[ABS_MEAN] = sums[MAGNITUDE] / (double)size;
    found[ABS_P50] = of_errors[0];
    found[ABS_P99] = of_errors[1];
    found[ABS_MAX] = largest(tally->maxima[LARGEST]);
    found[REL_P50] = of_relatives[0];
    found[REL_P99] = of_relatives[1];
    found[REL_MAX] = largest(tally->maxima[RELATIVE]);
    found[REL_FRO] = relative;
    found[SQNR_DB] = relative == 0 ? INFINITY : isfinite(relative) ? -20 * log10(relative) : -INFINITY;
    found[ULP_MAX] = largest(tally->maxima[ULPS]);
    found[KAPPA_MAX] = largest(tally->maxima[KAPPA]);
    found[SLOPE] = flat ? 0.0 : sums[CROSS] / signal;
    found[SLOPE_Z] = flat ? 0.0 : sums[CROSS] / sqrt(sums[SPREAD]);
    found[MEAN_Z] = energy != 0 ? sums[TOTAL] / sqrt(energy) : 0.0;
    found[WORST_RATIO] = largest(tally->maxima[RATIO]);
    found[WORST_LIMIT] = bound[tally->kept ? tally->worst[0].place : 0];
}

/* The index of an element from its place in row-major order. */
static PyObject *index_of(Py_ssize_t place, PyObject *shape)
{
    const Py_ssize_t dimensions = PyTuple_Size(shape);
    PyObject *index = PyList_New(dimensions);
    for (Py_ssize_t at = dimensions - 1; index && at >= 0; at--) {
        const Py_ssize_t size = PyLong_AsSsize_t(PyTuple_GetItem(shape, at));
        PyObject *along = size > 0 ? PyLong_FromSsize_t(place % size) : NULL;
        if (!along || PyList_SetItem(index, at, along) < 0)
            Py_CLEAR(index);
        else
            place /= size;
    }
    return index;
}

/* The worst elements, the worst one first. */
static PyObject *elements_of(const Tally *tally, const double *const arrays[ARRAYS], PyObject *shape)
{
    PyObject *all = PyList_New(tally->kept);
    for (int at = 0; all && at < tally->kept; at++) {
        const Py_ssize_t place = tally->worst[at].place;
        PyObject *one = PyDict_New();
        if (!one || !give(one, element_names[INDEX], index_of(place, shape)) ||
            !set(one, element_names[ACTUAL], arrays[0][place]) ||
            !set(one, element_names[EXPECTED], arrays[1][place]) ||
            !set(one, element_names[LIMIT], arrays[2][place]) ||
            !set(one, element_names[RATIO_OF_ONE], tally->worst[at].ratio)) {
            Py_XDECREF(one);
            Py_CLEAR(all);
        } else if (PyList_SetItem(all, at, one) < 0)
            Py_CLEAR(all);
    }
    return all;
}

/* Some of so many elements, at least one, as `sample` in accuracy/fingerprint.py. */
static PyObject *sample(const double *array, Py_ssize_t size)
{
    const Py_ssize_t number = size < SAMPLED ? size : SAMPLED;
    double found[SAMPLED] = {array[0]};
    for (Py_ssize_t at = 1; at < number; at++)
        found[at] = array[at * (size - 1) / (number - 1)];
    return PyBytes_FromStringAndSize((const char *)found, number * (Py_ssize_t)sizeof *found);
}

static PyObject *answer(Tally *tally, const double *const arrays[ARRAYS], Py_ssize_t size, PyObject *shape)
{
    static Pairs pairs[HISTOGRAMS]; /* whoever is here holds the lock of the interpreter */
    static const int kept[2] = {ERRORS, RATIOS};
    double found[COLUMNS];
    PyObject *columns = PyDict_New();
    for (int which = 0; which < HISTOGRAMS; which++)
        take(&pairs[which], tally, which);
    statistics(found, tally, arrays[2], size, pairs);
    int well = columns != NULL;
    for (int column = 0; well && column < COLUMNS; column++)
        well = set(columns, names[column], found[column]);
    for (int which = 0; well && which < 2; which++) {
        const Pairs *each = &pairs[kept[which]];
        well = give(columns, bins_names[which], bins_of(each)) &&
               give(columns, counts_names[which], numbers_of(each, size <= UINT16_MAX));
    }
    if (!well)
        Py_CLEAR(columns);
    /* "N" takes what it is given, and makes nothing where one of them is NULL. */
    return Py_BuildValue("(NNNN)", columns, well ? elements_of(tally, arrays, shape) : NULL,
                         well ? sample(arrays[0], size) : NULL, well ? sample(arrays[2], size) : NULL);
}

/* How many elements a shape has, -1 where it is none. */
static Py_ssize_t elements_in(PyObject *shape)
{
    Py_ssize_t all = 1;
    for (Py_ssize_t at = 0; at < PyTuple_Size(shape); at++) {
        const Py_ssize_t size = PyLong_AsSsize_t(PyTuple_GetItem(shape, at));
        if (size < 0 || (size > 0 && all > PY_SSIZE_T_MAX / size))
            return -1;
        all *= size;
    }
    return all;
}

static PyObject *totals_of(PyObject *module, PyObject *args)
{
    PyObject *objects[ARRAYS], *shape, *told = NULL;
    Py_buffer views[ARRAYS];
    const double *arrays[ARRAYS];
    Terms terms;
    Py_ssize_t block;
    static Tally tally; /* whoever is here holds the lock of the interpreter */
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOOO!ddin:totals", &objects[0], &objects[1], &objects[2], &objects[3], &PyTuple_Type,
                          &shape, &terms.below, &terms.smallest, &terms.mantissa, &block))
        return NULL;
    const Py_ssize_t size = take_parts(arrays, views, objects, ARRAYS);
    if (size < 0)
        return NULL;
    if (elements_in(shape) != size || !size) {
        if (!PyErr_Occurred())
            PyErr_Format(PyExc_ValueError, "%zd elements of shape %R; as many as it has, and one or more, are wanted",
                         size, shape);
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
    for (int which = 0; which < HISTOGRAMS; which++)
        for (int lane = 0; lane < LANES; lane++)
            tally.minima[which][lane] = INFINITY;
    int ordinary = 1;
    for (Py_ssize_t begin = 0, left = size; ordinary && left > 0;) {
        const Py_ssize_t taken = left < block ? left : block;
        ordinary = add_block(&tally, arrays, begin, begin + taken, &terms);
        begin += taken;
        left -= taken;
    }
    told = ordinary ? answer(&tally, arrays, size, shape) : Py_NewRef(Py_None);
    if (!told || !ordinary)
        memset(tally.counts, 0, sizeof tally.counts);
end:
    release(views, ARRAYS);
    return told;
}
