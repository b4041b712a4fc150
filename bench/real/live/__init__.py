"""A cascade of two real models beside what people use in its place, live."""
