"""Looking for the best model that the images and the budget allow."""
