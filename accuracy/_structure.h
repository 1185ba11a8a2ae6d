/* The strongest structure and the projections of `accuracy/structure.py`. Included once, by `_compiled.c`. */

/* The sum of numbers in lanes. */
static double total(const double *numbers, Py_ssize_t number)
{
    double lanes[LANES] = {0.0};
    for (Py_ssize_t at = 0; at < number; at++)
        lanes[at % LANES] += numbers[at];
    return folded(lanes);
}

/* The strongest structure of those that were looked at. */
typedef struct {
    double z, effect;
    Py_ssize_t at, looked_at;
} Strongest;

static void look_at(Strongest *found, double z, double effect, double least)
{
    if (fabs(effect) > least && isfinite(z) && fabs(z) > fabs(found->z)) {
        found->z = z;
        found->effect = effect;
        found->at = found->looked_at;
    }
    found->looked_at++;
}

/* A group from its sums of e·y, (e·y)² and y². */
static void look_at_slope(Strongest *found, double cross, double spread, double signal, double least)
{
    look_at(found, cross / sqrt(spread), cross / signal, least);
}

/* A group of so many elements from its sums of e, e² and y². */
static void look_at_mean(Strongest *found, double sum, double energy, double signal, double number, double least)
{
    look_at(found, sum / sqrt(energy), sum / number / sqrt(signal / number), least);
}

/* The strongest structure of an error of whole rows, and of `number` blocks by their sums. */
static int strongest(Strongest *found, const double *error, const double *expected, Py_ssize_t rows,
                     Py_ssize_t columns, const double *blocks, Py_ssize_t number, double least)
{
    double *by_column[BY_COLUMN], *by_row[BY_ROW], all[BY_COLUMN];
    double *sums = PyMem_Calloc((size_t)(BY_COLUMN * columns + BY_ROW * rows), sizeof(double));
    if (!sums)
        return 0;
    for (int sum = 0; sum < BY_COLUMN; sum++)
        by_column[sum] = sums + sum * columns;
    for (int sum = 0; sum < BY_ROW; sum++)
        by_row[sum] = sums + BY_COLUMN * columns + sum * rows;
    for (Py_ssize_t row = 0; row < rows; row++) {
        double of_row[BY_ROW];
        kernels->add_row(error + row * columns, expected + row * columns, columns, by_column, of_row);
        for (int sum = 0; sum < BY_ROW; sum++)
            by_row[sum][row] = of_row[sum];
    }
    for (int sum = 0; sum < BY_COLUMN; sum++)
        all[sum] = total(by_column[sum], columns);
    look_at_slope(found, all[0], all[1], all[2], least);
    for (Py_ssize_t at = 0; at < columns; at++)
        look_at_slope(found, by_column[0][at], by_column[1][at], by_column[2][at], least);
    for (Py_ssize_t at = 0; at < rows; at++)
        look_at_slope(found, by_row[0][at], by_row[1][at], by_row[2][at], least);
    look_at_mean(found, all[3], all[4], all[2], (double)(rows * columns), least);
    for (Py_ssize_t at = 0; at < columns; at++)
        look_at_mean(found, by_column[3][at], by_column[4][at], by_column[2][at], (double)rows, least);
    for (Py_ssize_t at = 0; at < number; at++)
        look_at_slope(found, blocks[BY_PART * at], blocks[BY_PART * at + 1], blocks[BY_PART * at + 2], least);
    PyMem_Free(sums);
    return 1;
}

static PyObject *strongest_of(PyObject *module, PyObject *args)
{
    PyObject *objects[3], *told = NULL;
    Py_buffer views[3];
    const double *arrays[3];
    double least;
    int held = 0;
    (void)module;
    if (!PyArg_ParseTuple(args, "OOOd:strongest", &objects[0], &objects[1], &objects[2], &least))
        return NULL;
    for (; held < 3; held++) {
        arrays[held] = elements(objects[held], &views[held]);
        if (!arrays[held])
            goto end;
    }
    const Py_ssize_t size = number_of(&views[0]), blocks = number_of(&views[2]);
    const Py_ssize_t columns = views[0].ndim ? views[0].shape[views[0].ndim - 1] : 1;
    if (!size || number_of(&views[1]) != size || blocks % BY_PART || size > PY_SSIZE_T_MAX / 64) {
        PyErr_Format(PyExc_ValueError, "arrays of %zd and %zd elements, and %zd sums of blocks; as many of both, at least "
                     "one, and %d sums a block are wanted", size, number_of(&views[1]), blocks, BY_PART);
        goto end;
    }
    Strongest found = {0};
    told = strongest(&found, arrays[0], arrays[1], size / columns, columns, arrays[2], blocks / BY_PART, least)
               ? Py_BuildValue("ddn", found.z, found.effect, found.at)
               : PyErr_NoMemory();
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
    const Py_ssize_t size = number_of(&errors), number = size ? number_of(&all) / size : 0;
    if (!size || number * size != number_of(&all)) {
        PyErr_Format(PyExc_ValueError, "arrays of %zd and %zd elements; parts as long as the error are wanted", size,
                     number_of(&all));
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
