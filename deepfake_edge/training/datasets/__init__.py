"""What a folder of videos is: readers for the layouts of public data sets, and splits that leak nobody."""
