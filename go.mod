module github.com/dynwatch/dynwatch

go 1.26
