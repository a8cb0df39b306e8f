"""What leaves the platform as a file: invoices as PDF and spreadsheet, usage as streams. Imported by api."""
