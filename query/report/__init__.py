"""An atlas told on one page, with its figures and tables: what one attaches to a paper."""
