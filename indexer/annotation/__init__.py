"""What people say of single cells: sheets, pictures, the table."""
