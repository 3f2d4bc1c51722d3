"""Networks: built for the data, or brought by the user; what their outputs mean."""
