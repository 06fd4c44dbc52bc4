// Reads records with Apache Avro for Java, and compares them with what must be seen of them.
//
// The argument is a file with a JSON object on each line: the writer's and the reader's schema, the bytes in hexadecimal digits, and what
// the reader must see.

import com.fasterxml.jackson.databind.JsonNode;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.HexFormat;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.io.DecoderFactory;

public final class Evolution {
    public static void main(String[] arguments) throws Exception {
        var json = new ObjectMapper();
        int read = 0;
        for (String line : Files.readAllLines(Path.of(arguments[0]))) {
            JsonNode test = json.readTree(line);
            Schema writer = new Schema.Parser().parse(test.get("writer").toString());
            Schema reader = new Schema.Parser().parse(test.get("reader").toString());
            byte[] bytes = HexFormat.of().parseHex(test.get("bytes").asText());
            var decoder = DecoderFactory.get().binaryDecoder(bytes, null);
            Object value = new GenericDatumReader<>(writer, reader).read(null, decoder);
            // A record's text is JSON.
            JsonNode seen = json.readTree(value.toString());
            if (!seen.equals(test.get("expected")) || !decoder.isEnd()) {
                System.err.println(test.get("what").asText() + ": " + seen + " is not " + test.get("expected"));
                System.exit(1);
            }
            read++;
        }
        System.out.println(read + " read");
    }
}
