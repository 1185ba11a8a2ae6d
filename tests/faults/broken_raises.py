"""A library that cannot be imported."""

raise OSError("libplanted.so: cannot open shared object file")
