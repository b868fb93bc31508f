"""Libraries of others that the page loads, with their licences. Data only."""
