"""Many scans on several processes or machines. The only folder that knows Dask."""
