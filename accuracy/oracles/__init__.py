"""Float64 references. An oracle never calls the library for the thing it checks: it unpacks the bytes itself."""
